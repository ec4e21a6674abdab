"""Fixtures of the API tests: the hall on memory, and the hall on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.api.hall import Hall
from tests.contract.databases import Databases
from tests.contract.databases import databases as databases
from tests.stack import stack as stack
from valetkey.store.sql_store import SqlStore, open_store


@pytest.fixture
def hall() -> Iterator[Hall]:
    """A hall whose store is in memory."""
    with ExitStack() as resources:
        yield Hall(resources)


@pytest.fixture
def sql_store(databases: Databases) -> Iterator[SqlStore]:
    """The real store on a fresh database, as the application's role."""
    store = open_store(databases.app(databases.fresh()), pool=24, kept=6)
    yield store
    store.close()


@pytest.fixture
def live_hall(sql_store: SqlStore) -> Iterator[Hall]:
    """A hall whose store is PostgreSQL."""
    with ExitStack() as resources:
        yield Hall(resources, sql_store)
