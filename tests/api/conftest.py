"""Fixtures of the API tests: the hall on memory, and the hall on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.api.hall import Hall
from tests.stack import stack  # noqa: F401
from valetkey.devstack.stack import Stack
from valetkey.store.migrations import migrate
from valetkey.store.sql_store import SqlStore, open_store


def _dialect(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture
def hall() -> Iterator[Hall]:
    """A hall whose store is in memory."""
    with ExitStack() as resources:
        yield Hall(resources)


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> Iterator[SqlStore]:  # noqa: F811
    """One store for the whole session, as the application's role."""
    migrate(_dialect(stack.owner_dsn()))
    store = open_store(_dialect(stack.app_dsn()), pool=20)
    yield store
    store.close()


@pytest.fixture
def live_hall(stack: Stack, migrated: SqlStore) -> Iterator[Hall]:  # noqa: F811
    """A hall whose store is an empty PostgreSQL."""
    with psycopg.connect(stack.owner_dsn(), autocommit=True) as owner:
        owner.execute(
            "TRUNCATE agents, bindings, tasks, decisions, grants, approvals, leases, kills, facts, uses"
        )
    with ExitStack() as resources:
        yield Hall(resources, migrated)
