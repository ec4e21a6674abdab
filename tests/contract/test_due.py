"""What one look finds to do: each duty by itself, and nothing in an idle installation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.examples import MINUTE, Examples
from tests.contract.traced import statements
from tests.contract.traced import told as told
from tests.contract.traced import traced as traced
from valetkey.clockwork import Beats, Clockwork
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.task import TaskState
from valetkey.ports import Duty, Store, Transaction
from valetkey.store.sql_store import SqlStore
from valetkey.testing.brokers import Stage

LONG_AGO = timedelta(hours=-1)
Writing = Callable[[Transaction, Examples], object]


@pytest.fixture
def some(store: Store) -> Examples:
    """Examples around the store's time, with an agent, a task and a grant written."""
    made = Examples(store)
    with store.transaction() as tx:
        made.ground(tx)
    return made


def test_nothing_is_due_in_an_idle_installation(store: Store, some: Examples) -> None:
    """Tasks in time, grants that may still wait, leases for later, kills of nothing that lives."""
    ended = {"state": LeaseState.ENDED, "due_at": None, "ended_at": some.now}
    with store.transaction() as tx:
        tx.add_task(some.task(2, state=TaskState.ENDED, deadline_at=some.now + LONG_AGO))
        tx.add_lease(some.lease(1, due_at=some.now + MINUTE))
        tx.add_lease(some.lease(2, target="archive", proof=Proof.VERIFIED, **ended))
        tx.add_kill(some.kill(1, height=Height.TARGET, subject="archive"))
        tx.add_kill(some.kill(2, height=Height.TASK, subject="task_2"))
        released = {"released_at": some.now, "released_by": "x"}
        tx.add_kill(some.kill(3, height=Height.EVERYTHING, subject="", **released))
    assert store.due() == frozenset()


def _late_grant(tx: Transaction, some: Examples) -> None:
    tx.save_grant(some.grant(waits_until=some.now + LONG_AGO))


@pytest.mark.parametrize(
    ("write", "due"),
    [
        (_late_grant, Duty.GRANTS),
        (lambda tx, some: tx.save_task(some.task(deadline_at=some.now + LONG_AGO)), Duty.TASKS),
        (lambda tx, some: tx.save_task(some.task(silent_at=some.now + LONG_AGO)), Duty.TASKS),
        (lambda tx, some: tx.add_lease(some.lease(due_at=some.now + LONG_AGO)), Duty.LEASES),
        (lambda tx, some: tx.add_kill(some.kill(height=Height.TASK, subject="task_1")), Duty.KILLS),
    ],
)
def test_each_duty_is_due_by_itself(
    store: Store, some: Examples, write: Writing, due: Duty
) -> None:
    """What came due for one is told for that one alone."""
    with store.transaction() as tx:
        write(tx, some)
    assert store.due() == {due}


def test_a_lease_that_lives_under_a_kill_is_due(store: Store, some: Examples) -> None:
    """Whatever its own time is; once it is ending, the kill is finished."""
    with store.transaction() as tx:
        tx.add_lease(some.lease(due_at=some.now + MINUTE))
        tx.add_kill(some.kill(height=Height.TARGET, subject="orders-db"))
    assert store.due() == {Duty.KILLS}
    with store.transaction() as tx:
        (living,) = tx.unended_leases()
        tx.save_lease(living.ending("killed", some.now + MINUTE))
    assert store.due() == frozenset()


def test_an_idle_tick_is_one_statement(traced: SqlStore, told: Path) -> None:
    """No more is asked of PostgreSQL: not even a transaction is begun."""
    clockwork = Clockwork(Stage(store=traced).broker, Beats())
    clockwork.tick()
    before = statements(told)
    for _ in range(5):
        clockwork.tick()
    assert statements(told) - before == 5
