"""A store whose every message to PostgreSQL is written down, to count what is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import pq
from sqlalchemy import create_engine, event

from tests.contract.databases import Databases
from valetkey.store.patience import ANSWER, connecting
from valetkey.store.sql_store import SqlStore


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where libpq writes down all that is said (PQtrace)."""
    return tmp_path / "said"


@pytest.fixture
def traced(databases: Databases, told: Path) -> Iterator[SqlStore]:
    """A store whose every message to PostgreSQL is written down."""
    engine = create_engine(
        databases.app(databases.fresh()),
        isolation_level="AUTOCOMMIT",
        connect_args=connecting(ANSWER),
    )
    with told.open("wb") as file:

        @event.listens_for(engine, "connect")
        def trace(connection: object, record: object) -> None:
            wire: pq.PGconn = connection.pgconn  # type: ignore[attr-defined]
            wire.trace(file.fileno())
            wire.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)

        store = SqlStore(engine)
        yield store
        store.close()


def statements(told: Path) -> int:
    """How often something was run, in either protocol (PostgreSQL 17, 53.7)."""
    said = [line.split("\t") for line in told.read_text(errors="replace").splitlines()]
    return sum(part[0] == "F" and part[2] in ("Query", "Execute") for part in said)
