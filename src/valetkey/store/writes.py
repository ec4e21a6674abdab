"""What a transaction adds, kept until it must be there, then written in one statement.

The rows of each table travel as one JSON text, which PostgreSQL turns into rows of the table's
own type (manual, 9.16.1): one statement and one round trip, however many tables and rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Table


class Additions:
    """New rows of several tables; references between them are checked at the statement's end."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[Mapping[str, Any]]] = {}

    def add(self, table: Table, *rows: Mapping[str, Any]) -> None:
        """Keep some; each has the same columns as every other row of its table.

        Rows of one table are numbered by the database in the order they were added.
        """
        if rows:
            self._rows.setdefault(table, []).extend(rows)

    def taken(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The statement that writes all that were kept, with its values; none when nothing was."""
        kept, self._rows = self._rows, {}
        if kept:
            shape = tuple((table, tuple(rows[0])) for table, rows in kept.items())
            yield _statement(shape), {table.name: _json(rows) for table, rows in kept.items()}


@lru_cache(maxsize=256)
def _statement(shape: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    """One INSERT, with the others before it as data-modifying WITH queries (manual, 7.8.4)."""
    *others, last = (_insert(*part) for part in shape)
    before = ", ".join(f"added_{at} AS ({other})" for at, other in enumerate(others))
    return f"WITH {before} {last}" if before else last


def _insert(table: Table, columns: tuple[str, ...]) -> str:
    """Names come from our own tables, never from outside."""
    listed = ", ".join(f'"{table.c[name].name}"' for name in columns)
    rows = f"jsonb_populate_recordset(NULL::{table.name}, %({table.name})s::jsonb)"
    return f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM {rows}"  # noqa: S608


def change(
    table: Table, row: Mapping[str, Any], which: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """An UPDATE of the rows in which `which` is true to the values of `row`, and its values."""
    values = {f"this_{name}": value for name, value in which.items()}
    values["row"] = _json(row)
    return _change(table, tuple(row), tuple(which)), values


@lru_cache(maxsize=256)
def _change(table: Table, columns: tuple[str, ...], which: tuple[str, ...]) -> str:
    listed = ", ".join(f'"{table.c[name].name}"' for name in columns)
    true = " AND ".join(f'"{table.c[name].name}" = %(this_{name})s' for name in which)
    row = f"jsonb_populate_record(NULL::{table.name}, %(row)s::jsonb)"
    return f"UPDATE {table.name} SET ({listed}) = (SELECT {listed} FROM {row}) WHERE {true}"  # noqa: S608


def _json(value: object) -> str:
    return json.dumps(value, default=_instant)


def _instant(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not a value of a row")
