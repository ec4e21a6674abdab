"""Our name, its epochs and our tallies, in each store; and who may change the name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.errors import InsufficientPrivilege

from tests.contract.databases import Databases
from tests.contract.examples import MINUTE, Examples
from valetkey.core.comparison import epoch_of, same_installation
from valetkey.core.tally import Tallies, Tally
from valetkey.core.task import TaskState
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore, open_store
from valetkey.testing.memory_store import MemoryStore
from valetkey.testing.sim_store import SimStore


@pytest.fixture
def owner_store(databases: Databases, database: str) -> Iterator[SqlStore]:
    """The real store under its owner's login."""
    store = open_store(databases.owner(database), pool=2)
    yield store
    store.close()


@pytest.fixture(params=["memory", "simulated", "postgres"])
def owned(request: pytest.FixtureRequest) -> Store:
    """Each store, as its owner has it."""
    if request.param == "postgres":
        real: SqlStore = request.getfixturevalue("owner_store")
        return real
    return MemoryStore() if request.param == "memory" else SimStore()


def test_an_epoch_is_one_more_or_as_high_as_asked(owned: Store) -> None:
    """The name stays, its epoch only rises."""
    with owned.transaction() as tx:
        first = tx.installation()
        assert epoch_of(first) == 1
        second = tx.begin_epoch(0)
        third = tx.begin_epoch(7)
        fourth = tx.begin_epoch(3)
        assert tx.installation() == fourth
    assert [epoch_of(x) for x in (second, third, fourth)] == [2, 7, 8]
    assert same_installation(first, fourth)
    with owned.transaction() as tx:
        assert tx.installation() == fourth


def test_every_open_task_can_be_made_due_at_once(owned: Store) -> None:
    """Those that ended, and those due before, stay as they were."""
    some = Examples(owned)
    with owned.transaction() as tx:
        some.ground(tx)
        tx.add_task(some.task(2, state=TaskState.ENDED, ended_at=some.now))
        tx.add_task(some.task(3, deadline_at=some.now - MINUTE))
    with owned.transaction() as tx:
        assert tx.hurry_tasks() == 2
    with owned.transaction() as tx:
        deadlines = {x.id: x.deadline_at for x in tx.tasks(None, None)}
        assert {x.id for x in tx.tasks_overdue(9)} == {"task_1", "task_3"}
    assert some.now <= deadlines["task_1"] <= owned.now()
    assert deadlines["task_2"] == some.task().deadline_at
    assert deadlines["task_3"] == some.now - MINUTE


def test_tallies_are_kept_by_name(store: Store) -> None:
    """None is known at first; each part may be missing."""
    both = Tallies(Tally(1, "one"), Tally(2, "two"))
    with store.transaction() as tx:
        assert tx.tallies("a") == Tallies()
        tx.save_tallies("a", both)
        assert tx.tallies("a") == both
    with store.transaction() as tx:
        tx.save_tallies("a", both.noted())
        tx.save_tallies("b", Tallies(None, Tally(1, "x")))
    with store.transaction() as tx:
        assert tx.tallies("a") == Tallies(Tally(2, "two"))
        assert tx.tallies("b") == Tallies(None, Tally(1, "x"))


def test_the_application_cannot_begin_an_epoch(sql_store: SqlStore) -> None:
    """A taken-over replica stays who it is."""
    with pytest.raises(InsufficientPrivilege), sql_store.transaction() as tx:
        tx.begin_epoch(2)
