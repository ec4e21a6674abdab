"""Each port with its fake and its real thing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.databases import Databases
from tests.contract.databases import databases as databases
from tests.stack import stack as stack
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore, open_store
from valetkey.testing.memory_store import MemoryStore
from valetkey.testing.sim_store import SimStore


@pytest.fixture
def database(databases: Databases) -> str:
    """The name of a fresh, migrated database."""
    return databases.fresh()


@pytest.fixture
def sql_store(databases: Databases, database: str) -> Iterator[SqlStore]:
    """The real store on a fresh database, as the application's role."""
    store = open_store(databases.app(database), pool=24)
    yield store
    store.close()


@pytest.fixture(params=["memory", "simulated", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """The fake store, the simulator's, then the real one."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "simulated":
        return SimStore()
    real: SqlStore = request.getfixturevalue("sql_store")
    return real
