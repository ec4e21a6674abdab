"""One open transaction: the connection, its time, and the facts that go out with its commit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, insert, select, text

BARRIER = 0x56_4B_01
DUTY = 0x56_4B_02
KEY = 0x56_4B_03


class Session:
    """What every group of queries works with."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began: tuple[datetime, float] | None = None
        self._facts: list[dict[str, Any]] = []

    def now(self) -> datetime:
        """The database's time: read once, then moved on by the monotonic clock."""
        if self._began is None:
            self._read_clock("SELECT clock_timestamp()")
        assert self._began is not None
        at, mono = self._began
        return at + timedelta(seconds=time.monotonic() - mono)

    def flush(self) -> None:
        """Write the facts of this transaction; the last thing before its commit."""
        from valetkey.store.tables import facts

        if self._facts:
            waiting, self._facts = self._facts, []
            self._connection.execute(insert(facts), waiting)

    def _read_clock(self, statement: str) -> None:
        at = self._connection.exec_driver_sql(statement).scalar_one()
        self._began = (at, time.monotonic())

    def _one(self, query: Select[Any]) -> Mapping[str, Any] | None:
        row = self._connection.execute(query).mappings().first()
        return dict(row) if row is not None else None

    def _many(self, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _insert(self, table: Table, row: Mapping[str, Any]) -> None:
        self._connection.execute(insert(table), row)

    def _update(self, table: Table, row: Mapping[str, Any]) -> None:
        change = table.update().where(table.c.id == row["id"]).values(**row)
        self._connection.execute(change)

    def try_lead(self, duty: str) -> bool:
        """Be the only one doing this duty until the transaction ends."""
        lead = func.pg_try_advisory_xact_lock(DUTY, func.hashtext(duty))
        return bool(self._connection.execute(select(lead)).scalar_one())


def all_of(*conditions: ColumnElement[bool] | None) -> list[ColumnElement[bool]]:
    """The conditions that were given."""
    return [condition for condition in conditions if condition is not None]


__all__ = ["BARRIER", "KEY", "Session", "all_of", "text"]
