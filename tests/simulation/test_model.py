"""The simulated store behaves as PostgreSQL does where two transactions meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from greenlet import getcurrent, greenlet

from tests.contract.examples import Examples
from valetkey.core.errors import BrokerError, StoreUnavailable
from valetkey.core.kill import Reach
from valetkey.core.lease import LeaseState, Patience
from valetkey.core.task import TaskState
from valetkey.testing.sim_locks import SHARE, UPDATE, Locks
from valetkey.testing.sim_store import SimStore

REACH = Reach("agent_1", "task_1", "orders-db")


class Turns:
    """Two or more transactions, each going on when it is told to, up to its next pause."""

    def __init__(self) -> None:
        self.hub = getcurrent()

    def step(self, what: str, about: str = "") -> None:
        """Statements follow one another; only `pause` lets others act."""

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Back to the test, until it is true."""
        while not ready():
            self.hub.switch(what)

    def omen(self, of: str) -> str:
        """All is well."""
        return "ok"

    def pause(self) -> None:
        """Back to the test, if somebody else than the test asks."""
        if getcurrent() is not self.hub:
            self.hub.switch("paused")


@pytest.fixture
def turns() -> Turns:
    """A hub in this test."""
    return Turns()


@pytest.fixture
def store(turns: Turns) -> SimStore:
    """A store with an agent, a task, a grant and two leases."""
    store = SimStore(turns)
    some = Examples(store)
    with store.transaction() as tx:
        some.ground(tx)
        tx.add_lease(some.due(1))
        tx.add_lease(some.due(2))
    return store


def actor(play: Callable[[], Iterator[object] | object]) -> greenlet:
    """Someone who plays and, at the end, hands back the answer or the error."""

    def run() -> object:
        try:
            return play()
        except BrokerError as problem:
            return problem

    return greenlet(run)


def test_a_change_is_seen_by_the_next_statement_once_it_is_committed(
    store: SimStore, turns: Turns
) -> None:
    """READ COMMITTED: not before, and not only in the next transaction."""
    some = Examples(store)

    def write() -> None:
        with store.transaction() as tx:
            tx.save_task(some.task().ended("ended", some.now))
            turns.pause()

    writer = actor(write)
    with store.transaction() as tx:
        writer.switch()
        before = tx.task("task_1")
        writer.switch()
        after = tx.task("task_1")
    assert before is not None
    assert after is not None
    assert (before.state, after.state) == (TaskState.OPEN, TaskState.ENDED)


def test_a_lease_that_is_being_changed_is_waited_for_and_compared_again(
    store: SimStore, turns: Turns
) -> None:
    """The second of two writers of one reading waits, then is refused by the fence."""
    lease = Examples(store).due(1)

    def save() -> bool:
        with store.transaction() as tx:
            saved = tx.save_lease(lease)
            turns.pause()
            return saved

    first, second = actor(save), actor(save)
    assert first.switch() == "paused"
    assert second.switch() == "wait for leases lease_0001"
    assert first.switch() is True
    assert second.switch() == "paused"
    assert second.switch() is False


def test_rows_that_others_hold_are_not_claimed(store: SimStore, turns: Turns) -> None:
    """SKIP LOCKED: the other row is claimed at once."""

    def hold() -> None:
        with store.transaction() as tx:
            tx.lease("lease_0001", lock=True)
            turns.pause()

    holder = actor(hold)
    holder.switch()
    with store.transaction() as tx:
        claimed = tx.claim_due(9, Patience().claim, (), ())
    assert [x.id for x in claimed] == ["lease_0002"]
    holder.switch()


def test_a_row_that_no_longer_fits_after_waiting_is_left_out(
    store: SimStore, turns: Turns
) -> None:
    """A kill that waited for a lease does not mark it when it has ended meanwhile."""
    some = Examples(store)
    with store.transaction() as tx:
        tx.add_lease(some.lease(3))

    def end() -> None:
        with store.transaction() as tx:
            tx.save_lease(some.lease(3).ending("revoked", some.now))
            turns.pause()

    def kill() -> list[str]:
        with store.transaction() as tx:
            return [x.id for x in tx.live_leases(some.kill(), 9)]

    ender, killer = actor(end), actor(kill)
    ender.switch()
    assert killer.switch() == "wait for leases lease_0003"
    ender.switch()
    assert killer.switch() == []


def test_a_barrier_that_is_waited_for_is_seen_behind_by_the_next_statement(
    store: SimStore, turns: Turns
) -> None:
    """The writer waits for the kill, and reads it in a later statement."""
    some = Examples(store)

    def write() -> int:
        with store.transaction() as tx:
            tx.hold_barrier()
            return len(tx.kills_over(REACH))

    writer = actor(write)
    with store.transaction() as tx:
        tx.close_barrier()
        assert writer.switch() == "wait for kill barrier"
        tx.add_kill(some.kill())
    assert writer.switch() == 1


def test_what_a_waiting_statement_read_of_other_rows_is_old(
    store: SimStore, turns: Turns
) -> None:
    """The task is read again after the wait; the agent is as it was when the statement began."""
    some = Examples(store)

    def end() -> None:
        with store.transaction() as tx:
            tx.save_task(some.task().ended("ended", some.now))
            tx.save_agent(some.agent().disabled())
            turns.pause()

    def look() -> object:
        with store.transaction() as tx:
            return tx.standing("task_1")

    ender, looker = actor(end), actor(look)
    ender.switch()
    assert looker.switch() == "wait for tasks task_1"
    ender.switch()
    standing = looker.switch()
    assert standing.task.state is TaskState.ENDED
    assert standing.agent == some.agent()


def test_whoever_would_close_a_circle_of_waiting_is_told_so(
    store: SimStore, turns: Turns
) -> None:
    """A deadlock ends one of the two, and the other goes on."""

    def lock(*lease_ids: str) -> str:
        with store.transaction() as tx:
            for lease_id in lease_ids:
                tx.lease(lease_id, lock=True)
                turns.pause()
        return "done"

    one = actor(lambda: lock("lease_0001", "lease_0002"))
    other = actor(lambda: lock("lease_0002", "lease_0001"))
    one.switch()
    other.switch()
    assert one.switch() == "wait for leases lease_0002"
    assert isinstance(other.switch(), StoreUnavailable)
    assert one.switch() == "paused"
    assert one.switch() == "done"
    assert len(store.locks.deadlocks) == 1


def test_who_comes_later_waits_behind_who_waits_for_an_advisory_lock(turns: Turns) -> None:
    """A closing barrier is not starved by those who would hold it with others."""
    locks = Locks(turns)
    key = ("kill", "barrier")
    locks.take("holder", key, SHARE, fair=True)
    closer = actor(lambda: locks.take("closer", key, UPDATE, fair=True))
    later = actor(lambda: locks.take("later", key, SHARE, fair=True))
    assert closer.switch() == "wait for kill barrier"
    assert later.switch() == "wait for kill barrier"
    locks.release("holder")
    assert later.switch() == "wait for kill barrier"
    assert closer.switch() is True
    locks.release("closer")
    assert later.switch() is True


def test_a_transaction_that_vanishes_leaves_nothing_and_holds_nothing(
    store: SimStore, turns: Turns
) -> None:
    """Its connection is gone: rolled back, and its locks are free."""

    def change() -> None:
        with store.transaction() as tx:
            tx.save_lease(Examples(store).due(1).ending("x", store.now()))
            turns.pause()

    gone = actor(change)
    gone.switch()
    gone.throw()
    with store.transaction() as tx:
        lease = tx.lease("lease_0001", lock=True)
    assert lease is not None
    assert (lease.state, lease.fence) == (LeaseState.ENDING, 1)
