"""One open transaction: the connection, its time, and the facts that go out with its commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

import psycopg
from psycopg.rows import RowFactory, dict_row, tuple_row
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from valetkey.store.readings import Reading, Readings
from valetkey.store.tables import facts
from valetkey.store.writes import Additions, change

Row = TypeVar("Row")
PSYCOPG: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]
BARRIER = 0x56_4B_01
DUTY = 0x56_4B_02
KEY = 0x56_4B_03
RULES = 0x56_4B_04
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"

Hold = Literal["", "share", "change"]
"""How a row is locked when it is read: not, against change by others, or to be changed."""


class Session:
    """What every group of queries works with."""

    def __init__(self, connection: Connection, readings: Readings) -> None:
        self._bare, self._readings = connection, readings
        self._driver = driver_of(connection)
        self._begun = False
        self._read: Reading | None = None
        self._additions = Additions()
        self._facts: list[dict[str, Any]] = []

    def now(self) -> datetime:
        """The database's time: read once, then moved on by the monotonic clock."""
        if self._read is None:
            self._read = self._readings.recent() or self._read_clock("SELECT clock_timestamp()")
        return self._read.now()

    def flush(self) -> None:
        """Write what was added, facts last."""
        self._add_facts()
        self._write()

    def finish(self) -> None:
        """The same as the last thing before the commit; one statement alone needs no other."""
        self._add_facts()
        for statement, values in self._additions.taken():
            self._driver.execute(statement.encode(), values)

    def _add_facts(self) -> None:
        waiting, self._facts = self._facts, []
        self._additions.add(facts, *waiting)

    def _begin(self) -> None:
        """Have PostgreSQL begin, once; from here on all is one transaction."""
        if not self._begun:
            self._driver.execute(_BEGIN, prepare=False)
            self._begun = True

    def _write(self) -> None:
        for statement, values in self._additions.taken():
            self._begin()
            self._driver.execute(statement.encode(), values)

    @property
    def _connection(self) -> Connection:
        """The connection, begun, once it holds all rows that were added."""
        self._begin()
        self._write()
        return self._bare

    def _read_clock(self, statement: str) -> Reading:
        found = self._run(tuple_row, statement, {}).fetchone()
        assert found is not None
        self._read = self._readings.note(found[0])
        return self._read

    def _one(self, query: Select[Any], values: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The first row of a statement that was built once."""
        return next(iter(self._each(query, values)), None)

    def _each(self, query: Select[Any], values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """The rows of a statement that was built once, by name."""
        return self._select(dict_row, query, values).fetchall()

    def _joined(self, query: Select[Any], values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """The same in the order of their columns, of which several may have one name."""
        return self._select(tuple_row, query, values).fetchall()

    def _select(
        self, rows: RowFactory[Row], query: Select[Any], values: Mapping[str, Any]
    ) -> psycopg.Cursor[Row]:
        """Before anything was locked or written it is asked without a beginning."""
        statement, given, locks = spelled(query, values)
        if locks or self._begun:
            return self._run(rows, statement, given)
        self._write()
        return self._ask(rows, statement, given)

    def _many(self, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        """The rows of a statement that is built anew each time."""
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _run(
        self, rows: RowFactory[Row], statement: str, values: Mapping[str, Any]
    ) -> psycopg.Cursor[Row]:
        """Straight to psycopg: what is asked for each credential costs half as much this way."""
        self._write()
        return self._run_before(rows, statement, values)

    def _run_before(
        self, rows: RowFactory[Row], statement: str, values: Mapping[str, Any]
    ) -> psycopg.Cursor[Row]:
        """The same for what need not see the rows that were added and not written yet."""
        self._begin()
        return self._ask(rows, statement, values)

    def _ask(
        self, rows: RowFactory[Row], statement: str, values: Mapping[str, Any]
    ) -> psycopg.Cursor[Row]:
        return self._driver.cursor(row_factory=rows).execute(statement.encode(), values)

    def _insert(self, table: Table, row: Mapping[str, Any]) -> None:
        self._additions.add(table, row)

    def _update(self, table: Table, row: Mapping[str, Any]) -> None:
        changes = {name: value for name, value in row.items() if name != "id"}
        self._change(table, changes, {"id": row["id"]})

    def _change(self, table: Table, row: Mapping[str, Any], which: Mapping[str, Any]) -> int:
        """Change the rows of which this is true; how many they were."""
        return self._run(tuple_row, *change(table, row, which)).rowcount

    def try_lead(self, duty: str) -> bool:
        """Be the only one doing this duty until the transaction ends."""
        lead = func.pg_try_advisory_xact_lock(DUTY, func.hashtext(duty))
        return bool(self._connection.execute(select(lead)).scalar_one())


@lru_cache(maxsize=64)
def by_id(table: Table, hold: Hold = "") -> Select[Any]:
    """The row of a table whose `id` is given; built once, for building costs what asking does."""
    query = select(table).where(table.c.id == bindparam("id"))
    return query if not hold else query.with_for_update(read=hold == "share")


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """psycopg's own connection."""
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    assert driver is not None
    return driver


def spelled(query: Select[Any], values: Mapping[str, Any]) -> tuple[str, dict[str, Any], bool]:
    """A statement as psycopg takes it, the values that are part of it and those given, and
    whether it locks what it finds.
    """
    text, own, locks = _spelled(query)
    return text, {**own, **values}, locks


@lru_cache(maxsize=256)
def _spelled(query: Select[Any]) -> tuple[str, Mapping[str, Any], bool]:
    compiled = query.compile(dialect=PSYCOPG)
    text = str(compiled)
    return text, compiled.params, " FOR " in text


def all_of(*conditions: ColumnElement[bool] | None) -> list[ColumnElement[bool]]:
    """The conditions that were given."""
    return [condition for condition in conditions if condition is not None]


__all__ = [
    "BARRIER",
    "KEY",
    "RULES",
    "Hold",
    "Session",
    "all_of",
    "by_id",
    "driver_of",
    "text",
]
