"""One open transaction: the connection, its time, and the facts that go out with its commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Update,
    bindparam,
    func,
    select,
    text,
)

from valetkey.store.readings import Reading, Readings
from valetkey.store.tables import facts
from valetkey.store.writes import Additions

BARRIER = 0x56_4B_01
DUTY = 0x56_4B_02
KEY = 0x56_4B_03

Hold = Literal["", "share", "change"]
"""How a row is locked when it is read: not, against change by others, or to be changed."""


class Session:
    """What every group of queries works with."""

    def __init__(self, connection: Connection, readings: Readings) -> None:
        self._bare, self._readings = connection, readings
        self._read: Reading | None = None
        self._additions = Additions()
        self._facts: list[dict[str, Any]] = []

    def now(self) -> datetime:
        """The database's time: read once, then moved on by the monotonic clock."""
        if self._read is None:
            self._read = self._readings.recent() or self._read_clock("SELECT clock_timestamp()")
        return self._read.now()

    def flush(self) -> None:
        """Write what was added, facts last; the last thing before the commit."""
        waiting, self._facts = self._facts, []
        self._additions.add(facts, *waiting)
        self._additions.write(self._bare)

    @property
    def _connection(self) -> Connection:
        """The connection, once it holds all rows that were added."""
        self._additions.write(self._bare)
        return self._bare

    def _read_clock(self, statement: str) -> Reading:
        at = self._connection.exec_driver_sql(statement).scalar_one()
        self._read = self._readings.note(at)
        return self._read

    def _one(
        self, query: Select[Any], values: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any] | None:
        row = self._connection.execute(query, values).mappings().first()
        return dict(row) if row is not None else None

    def _many(
        self, query: Select[Any], values: Mapping[str, Any] | None = None
    ) -> Sequence[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.execute(query, values).mappings()]

    def _insert(self, table: Table, row: Mapping[str, Any]) -> None:
        self._additions.add(table, row)

    def _update(self, table: Table, row: Mapping[str, Any]) -> None:
        changes = {name: value for name, value in row.items() if name != "id"}
        self._connection.execute(changing(table), {**changes, "this_id": row["id"]})

    def try_lead(self, duty: str) -> bool:
        """Be the only one doing this duty until the transaction ends."""
        lead = func.pg_try_advisory_xact_lock(DUTY, func.hashtext(duty))
        return bool(self._connection.execute(select(lead)).scalar_one())


@lru_cache(maxsize=64)
def by_id(table: Table, hold: Hold = "") -> Select[Any]:
    """The row of a table whose `id` is given; built once, for building costs what asking does."""
    query = select(table).where(table.c.id == bindparam("id"))
    return query if not hold else query.with_for_update(read=hold == "share")


@lru_cache(maxsize=64)
def changing(table: Table) -> Update:
    """The row whose `id` is given as `this_id`, with the columns given beside it."""
    return table.update().where(table.c.id == bindparam("this_id"))


def all_of(*conditions: ColumnElement[bool] | None) -> list[ColumnElement[bool]]:
    """The conditions that were given."""
    return [condition for condition in conditions if condition is not None]


__all__ = ["BARRIER", "KEY", "Hold", "Session", "all_of", "by_id", "text"]
