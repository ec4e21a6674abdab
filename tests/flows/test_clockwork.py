"""Stories of the metronome and its lanes: nothing that goes wrong keeps leases from ending."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.flows.stories import issued, lease_now
from valetkey.clockwork import Beats, Clockwork
from valetkey.core.grant import Grant
from valetkey.core.lease import Proof
from valetkey.core.task import Task, TaskState
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.minters.lanes import ThreadLanes, Width
from valetkey.testing.brokers import Stage
from valetkey.testing.memory_store import MemoryStore, MemoryTransaction


class PoisonedTransaction(MemoryTransaction):
    """One row of tasks and one of grants cannot be read."""

    def tasks_overdue(self, limit: int) -> Sequence[Task]:
        """Fails."""
        raise ValueError("a row that this version does not know")

    def grants_overdue(self, state: str, now: datetime) -> Sequence[Grant]:
        """Fails."""
        raise ValueError("a row that this version does not know")


class Poisoned(MemoryStore):
    """A store with such rows."""

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """As usual, but for those."""
        with super().transaction():
            yield PoisonedTransaction(self)


def test_a_row_that_cannot_be_read_does_not_stop_the_sweep(stage: Stage) -> None:
    """Ending goes on whatever is wrong with tasks or grants."""
    lease = issued(stage, stage.ask(stage.start())).lease
    revoke_lease(stage.broker, stage.operator, lease.id)
    poisoned = Poisoned()
    poisoned.time, poisoned.state = stage.memory.time, stage.memory.state
    quick = Beats(tick=timedelta(seconds=0.05))
    Clockwork(replace(stage.broker, store=poisoned), quick).tick()
    with poisoned.transaction() as tx:
        ended = tx.lease(lease.id)
    assert ended is not None
    assert ended.proof is Proof.VERIFIED


class Hasty(MemoryStore):
    """A store in which each transaction takes a minute."""

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """As usual, a minute later."""
        self.time += timedelta(minutes=1)
        with super().transaction() as tx:
            yield tx


def test_what_comes_due_while_others_end_is_ended_in_the_same_tick(stage: Stage) -> None:
    """A tick that finds one lease due goes on looking for most of its time."""
    task = stage.start()
    expiring = issued(stage, stage.ask(task)).lease
    revoked = issued(stage, stage.ask(task)).lease
    revoke_lease(stage.broker, stage.operator, revoked.id)
    hasty = Hasty()
    hasty.time, hasty.state = stage.memory.time, stage.memory.state
    beats = Beats(tick=timedelta(seconds=0.6))
    Clockwork(replace(stage.broker, store=hasty), beats).tick()
    with hasty.transaction() as tx:
        states = [x.end_reason for x in tx.leases_of_task(task.id) if x.ended_at is not None]
    assert sorted(filter(None, states)) == ["expired", "revoked"]
    assert expiring.id != revoked.id


def test_tasks_that_are_over_together_end_in_one_tick(stage: Stage) -> None:
    """However many batches they are."""
    for _ in range(150):
        stage.start(minutes=30)
    stage.pass_time(timedelta(minutes=31))
    Clockwork(stage.broker, Beats(tick=timedelta(seconds=20))).tick()
    with stage.broker.store.transaction() as tx:
        assert {task.state for task in tx.tasks(None, None)} == {TaskState.ENDED}


class Endless(MemoryStore):
    """A store in which tasks come to be over all the time."""

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """As usual, but that another task is over."""
        with super().transaction() as tx:
            some = next(iter(self.state.tasks.values()))
            tx.add_task(replace(some, id=f"task_{len(self.state.tasks)}", deadline_at=self.time))
            yield tx


def test_tasks_without_end_do_not_keep_leases_from_ending(stage: Stage) -> None:
    """The tick has a bound for them, and sweeps then."""
    lease = issued(stage, stage.ask(stage.start())).lease
    revoke_lease(stage.broker, stage.operator, lease.id)
    endless = Endless()
    endless.time, endless.state = stage.memory.time, stage.memory.state
    quick = Beats(tick=timedelta(seconds=0.2))
    Clockwork(replace(stage.broker, store=endless), quick).tick()
    assert lease_now(stage, lease).proof is Proof.VERIFIED


@pytest.fixture
def lanes() -> Iterator[ThreadLanes]:
    """Two at a time, four waiting."""
    lanes = ThreadLanes(Width(target=2, waiting=4))
    yield lanes
    lanes.close()


def test_a_sweep_claims_no_more_than_its_lanes_take(stage: Stage, lanes: ThreadLanes) -> None:
    """What is claimed finds room; the rest stays due, its tries uncounted, for the next pass."""
    task = stage.start()
    out = [issued(stage, stage.ask(task)).lease for _ in range(12)]
    for lease in out:
        revoke_lease(stage.broker, stage.operator, lease.id)
    go_on = threading.Event()
    stage.minter.before_end = lambda: assert_(go_on.wait(10))
    broker = replace(stage.broker, lanes=lanes)
    assert [sweep(broker), sweep(broker)] == [6, 0]
    left = [x for x in (lease_now(stage, lease) for lease in out) if x.tries == 0]
    assert len(left) == 6
    assert all(x.due_at is not None and x.due_at <= stage.broker.store.now() for x in left)
    go_on.set()


def test_a_full_lane_leaves_room_for_the_others(lanes: ThreadLanes) -> None:
    """One target's flood closes its own lane; elsewhere as much fits as ever."""
    go_on = threading.Event()
    for _ in range(6):
        lanes.start("flooded", lambda: assert_(go_on.wait(10)))
    assert (lanes.full(), lanes.room()) == (["flooded"], 6)
    lanes.start("quiet", lambda: assert_(go_on.wait(10)))
    assert (lanes.full(), lanes.room()) == (["flooded"], 5)
    go_on.set()


def assert_(true: bool) -> None:
    """Somebody let it go on in time."""
    assert true
