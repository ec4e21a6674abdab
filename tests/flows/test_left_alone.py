"""Stories of targets that do not answer: left alone for a while, then tried with one call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import issued, kinds, lease_now, leases
from valetkey.core.errors import MinterRefused, MinterUnavailable, NotAsked, OutcomeUnknown
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.renew import renew
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.minters.bounded import BoundedMinter
from valetkey.minters.breaker import Breakers, Temper
from valetkey.minters.lanes import ThreadLanes, Width
from valetkey.testing.brokers import Stage
from valetkey.testing.fake_clock import InlineLanes

TARGET = "orders-db"
TEMPER = Temper(3, timedelta(seconds=20), timedelta(seconds=10), timedelta(seconds=35))


class Minutes:
    """Monotonic time as a variable, and what was told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[tuple[str, bool]] = []
        self.breakers = Breakers(TEMPER, lambda *told: self.told.append(told), lambda: self.now)

    def outage(self, times: int = 1) -> None:
        """So many calls without an answer."""
        for _ in range(times):
            with pytest.raises(OutcomeUnknown), self.breakers.watching(TARGET):
                raise OutcomeUnknown()

    def answer(self) -> None:
        """One call that is answered."""
        with self.breakers.watching(TARGET):
            pass


@pytest.fixture
def minutes() -> Minutes:
    """Breakers that open after three outages."""
    return Minutes()


def test_outages_in_a_row_open_it_and_an_answer_closes_it(minutes: Minutes) -> None:
    """Two outages, an answer and two more do not; the third in a row does; each is told once."""
    minutes.outage(2)
    minutes.answer()
    minutes.outage(2)
    assert minutes.breakers.shut() == []
    minutes.outage()
    assert minutes.breakers.shut() == [TARGET]
    minutes.answer()
    assert minutes.breakers.shut() == []
    assert minutes.told == [(TARGET, True), (TARGET, False)]


def test_a_refusal_says_nothing_of_the_target(minutes: Minutes) -> None:
    """It neither opens nor closes: an undroppable role must not close a lane."""
    for _ in range(9):
        with pytest.raises(MinterRefused), minutes.breakers.watching(TARGET):
            raise MinterRefused()
    assert minutes.breakers.shut() == []
    minutes.outage(3)
    with pytest.raises(MinterRefused), minutes.breakers.watching(TARGET):
        raise MinterRefused()
    assert minutes.breakers.shut() == [TARGET]


def test_calls_that_last_count_while_they_last(minutes: Minutes) -> None:
    """Three that hang open it before any of them has failed; when all are answered it closes."""
    calls = [minutes.breakers.watching(TARGET) for _ in range(3)]
    for call in calls:
        call.__enter__()
    assert minutes.breakers.shut() == []
    minutes.now += 20
    assert minutes.breakers.shut() == [TARGET]
    calls[0].__exit__(None, None, None)
    assert minutes.breakers.shut() == [TARGET]
    for call in calls[1:]:
        call.__exit__(None, None, None)
    assert minutes.breakers.shut() == []


def test_one_trial_of_each_kind_per_pause(minutes: Minutes) -> None:
    """Asked during the pause it says how long; the trial is one's own, and passes once."""
    minutes.outage(3)
    assert minutes.breakers.wait(TARGET, "mint") == 10
    assert not minutes.breakers.passes(TARGET, "mint")
    minutes.now += 10
    assert minutes.breakers.wait(TARGET, "mint") is None
    assert minutes.breakers.wait(TARGET, "mint") == 10
    assert minutes.breakers.wait(TARGET, "end") is None
    assert minutes.breakers.passes(TARGET, "mint")
    assert not minutes.breakers.passes(TARGET, "mint")
    assert minutes.breakers.passes(TARGET, "end")


def test_trials_that_hang_come_ever_more_rarely(minutes: Minutes) -> None:
    """20, then no more than 35 s apart: what hangs inside the back end holds its permits."""
    minutes.outage(3)
    waits = []
    for lasting in (1, 20, 20, 20):
        with pytest.raises(OutcomeUnknown), minutes.breakers.watching(TARGET):
            minutes.now += lasting
            raise OutcomeUnknown()
        waits.append(minutes.breakers.wait(TARGET, "end"))
    assert waits == [9, 20, 35, 35]


def test_no_trial_while_enough_calls_still_hang(minutes: Minutes) -> None:
    """Another would only hold one more place, here and inside the back end."""
    calls = [minutes.breakers.watching(TARGET) for _ in range(3)]
    for call in calls:
        call.__enter__()
    minutes.now += 20
    assert minutes.breakers.shut() == [TARGET]
    minutes.now += 60
    assert minutes.breakers.wait(TARGET, "end") == 10
    for call in calls:
        call.__exit__(None, None, None)


def test_what_was_not_asked_says_nothing_of_the_target(minutes: Minutes) -> None:
    """That we cannot look, or have no token that lives long enough, keeps no ending waiting."""
    for _ in range(9):
        with pytest.raises(MinterUnavailable), minutes.breakers.watching(TARGET):
            raise NotAsked()
    assert minutes.breakers.shut() == []


def test_an_ask_for_a_target_left_alone_writes_nothing(stage: Stage) -> None:
    """Refused before the first commit, with the time after which to ask again."""
    task = stage.start()
    stage.broker.lanes.leave_alone(TARGET)
    before = kinds(stage)
    with pytest.raises(MinterUnavailable) as refused:
        issued(stage, stage.ask(task))
    assert refused.value.retry_after == 10
    assert not refused.value.recorded
    assert kinds(stage) == before
    assert stage.memory.state.leases == stage.memory.state.grants == {}


def test_a_renewal_at_a_target_left_alone_writes_nothing(stage: Stage) -> None:
    """Refused before the first commit: the record does not say that it may live for longer."""
    ask = stage.ask(stage.start(), renewable_for=timedelta(minutes=15))
    lease = lease_now(stage, issued(stage, ask).lease)
    stage.pass_time(timedelta(minutes=4))
    stage.broker.lanes.leave_alone(TARGET)
    before = kinds(stage)
    with pytest.raises(MinterUnavailable) as refused:
        renew(stage.broker, stage.bot, lease.id)
    assert (refused.value.retry_after, refused.value.task_id) == (10, lease.task_id)
    assert (kinds(stage), lease_now(stage, lease)) == (before, lease)


def test_what_is_due_at_a_target_left_alone_stays_due(stage: Stage) -> None:
    """Nothing of it is claimed but one now and then; nobody waits for it; later all of it ends."""
    task = stage.start()
    leases = [issued(stage, stage.ask(task)).lease for _ in range(3)]
    lanes = InlineLanes(alone={TARGET})
    broker = replace(stage.broker, lanes=lanes)
    began = stage.clock.seconds
    assert not end_task(broker, stage.bot, task.id).complete
    assert stage.clock.seconds - began < 1
    assert sweep(broker) == 0
    now = [lease_now(stage, lease) for lease in leases]
    assert all(x.tries == 0 and x.due_at and x.due_at <= stage.memory.time for x in now)
    lanes.tried.append(TARGET)
    stage.minter.fail_end.append(MinterUnavailable())
    assert (sweep(broker), sweep(broker)) == (1, 0)
    assert [lease_now(stage, lease).tries for lease in leases] == [1, 0, 0]
    lanes.alone.clear()
    stage.pass_time(timedelta(seconds=5))
    assert sweep(broker) == 3
    assert all(lease_now(stage, lease).proof is Proof.VERIFIED for lease in leases)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What calls that hang wait for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def lanes() -> Iterator[ThreadLanes]:
    """Four at a time, one of them for endings alone; six in all."""
    lanes = ThreadLanes(Width(target=4, waiting=4, total=6), Breakers(TEMPER))
    yield lanes
    lanes.close()


def test_endings_never_wait_behind_mints(lanes: ThreadLanes, go_on: threading.Event) -> None:
    """With every mint hanging, one place is still there for an ending."""
    ended = threading.Event()
    for _ in range(6):
        lanes.submit(TARGET, lambda: go_on.wait(10))
    lanes.start(TARGET, ended.set)
    assert ended.wait(5)
    assert lanes.traffic()[TARGET].most == 4


def test_a_flood_of_endings_lets_mints_through(lanes: ThreadLanes, go_on: threading.Event) -> None:
    """The first place that is free goes to a mint, when none runs."""
    held = [threading.Event() for _ in range(8)]
    for one in held:
        lanes.start(TARGET, lambda one=one: assert_(one.wait(10)))  # type: ignore[misc]
    minted = lanes.submit(TARGET, lambda: "minted")
    assert not minted.done()
    held[0].set()
    assert minted.result(5) == "minted"
    for one in held:
        one.set()


def test_no_more_run_than_the_lane_and_the_total_take(
    lanes: ThreadLanes, go_on: threading.Event
) -> None:
    """Two targets that hang hold six calls of six: four of the one, two of the other."""
    for _ in range(6):
        lanes.start(TARGET, lambda: assert_(go_on.wait(10)))
    for _ in range(6):
        lanes.start("other", lambda: assert_(go_on.wait(10)))
    traffic = lanes.traffic()
    assert (traffic[TARGET].running, traffic["other"].running) == (4, 2)
    assert (traffic[TARGET].most, lanes.most()) == (4, 6)


def test_a_full_lane_refuses_before_anything_is_written(
    stage: Stage, lanes: ThreadLanes, go_on: threading.Event
) -> None:
    """Asks that would have to wait behind a lane's worth of others are told so at once."""
    for _ in range(8):
        lanes.submit(TARGET, lambda: go_on.wait(10))
    broker = replace(stage.broker, lanes=lanes)
    stage.broker = broker
    with pytest.raises(MinterUnavailable):
        issued(stage, stage.ask(stage.start()))
    assert stage.memory.state.leases == {}


def test_an_ending_that_waits_when_the_lane_is_shut_comes_due_again(
    stage: Stage, lanes: ThreadLanes, go_on: threading.Event
) -> None:
    """It is left undone like those of a replica that died, and ends after its claim."""
    lease = issued(stage, stage.ask(stage.start())).lease
    revoke_lease(stage.broker, stage.operator, lease.id)
    for _ in range(4):
        lanes.start(TARGET, lambda: assert_(go_on.wait(10)))
    assert sweep(replace(stage.broker, lanes=lanes)) == 1
    lanes.leave_alone(TARGET)
    go_on.set()
    wait_until_idle(lanes)
    left = lease_now(stage, lease)
    assert (left.state, left.last_error, stage.minter.ends) == (LeaseState.ENDING, None, 0)
    stage.pass_time(stage.broker.patience.claim)
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_a_mint_that_has_not_begun_when_one_gives_up_never_will(
    stage: Stage, lanes: ThreadLanes, go_on: threading.Event
) -> None:
    """The asker hears that it is busy, not that it is unknown, and nothing is made later."""
    for _ in range(3):
        lanes.submit(TARGET, lambda: go_on.wait(10))
    minter = BoundedMinter(stage.minter, lanes, timedelta(seconds=0.05))
    broker = replace(stage.broker, minters={"fake": minter}, lanes=lanes)
    stage.broker = broker
    with pytest.raises(MinterUnavailable):
        issued(stage, stage.ask(stage.start()))
    go_on.set()
    wait_until_idle(lanes)
    assert stage.minter.secrets_made == []
    (lease,) = leases(stage)
    assert (lease.state, lease.proof) == (LeaseState.ENDED, Proof.NEVER_EXISTED)


def test_a_target_left_alone_is_looked_at_before_the_back_end_is_asked(
    stage: Stage, lanes: ThreadLanes
) -> None:
    """While our own look fails, no trial reaches the back end."""
    lease = issued(stage, stage.ask(stage.start())).lease
    minter = BoundedMinter(stage.minter, lanes, timedelta(seconds=5))
    lanes.leave_alone(TARGET)
    stage.minter.fail_probe.append(MinterUnavailable())
    with pytest.raises(MinterUnavailable):
        minter.end(lease.handle, lease.backend_expires_at)
    assert stage.minter.ends == 0
    minter.end(lease.handle, lease.backend_expires_at)
    assert (stage.minter.ends, lanes.shut()) == (1, [])


def wait_until_idle(lanes: ThreadLanes) -> None:
    """Nothing is held any more."""
    pause = threading.Event()
    for _ in range(1000):
        if not lanes.busy():
            return
        pause.wait(0.005)
    raise AssertionError("the lanes are still busy")


def assert_(true: bool) -> None:
    """Somebody let it go on in time."""
    assert true
