"""Stories of attempts that take too long, or whose word comes late or never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from tests.faults.rows import row
from tests.flows.stories import failing_ask, lease_now, leases, sweep_until_quiet
from valetkey.core.decision import Decision, Question
from valetkey.core.errors import OutcomeUnknown
from valetkey.core.ids import LeaseId
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.request_credential import request_credential
from valetkey.flows.sweep import sweep
from valetkey.ports import Broker
from valetkey.testing.brokers import Stage

LONG = timedelta(minutes=4)


class Vanished(BaseException):
    """The process is gone at this step; nothing after it is done."""


@dataclass(frozen=True)
class Slow:
    """A policy engine that takes its time."""

    decide: Callable[[Question], Decision]


def at(broker: Broker, step: str, do: Callable[[], None]) -> Broker:
    """The broker of a replica to which this happens at a step."""

    def here(reached: str) -> None:
        if reached == step:
            do()

    return replace(broker, failpoint=here)


def vanish() -> None:
    """Be gone."""
    raise Vanished


@row("F14")
def test_a_slow_first_transaction_leaves_less_time_to_mint(stage: Stage) -> None:
    """The mint's time runs from the instant that the lease names, so the second tap is after it."""
    decide = stage.policy.decide

    def slowly(question: Question) -> Decision:
        stage.pass_time(timedelta(seconds=20))
        return decide(question)

    stage.rules.policy = Slow(slowly)
    stage.minter.before_mint = lambda: stage.pass_time(timedelta(seconds=11))
    lease = failing_ask(stage, stage.start())
    assert stage.minter.alive == {}
    assert stage.broker.store.now() > lease.mint_until


def test_a_first_tap_recorded_late_is_still_a_first_tap(stage: Stage) -> None:
    """A replica that slept over the quiet time cannot say that nothing came to be in it."""
    stage.minter.fail_mint.append(OutcomeUnknown())
    lease = failing_ask(stage, stage.start())

    def sleep_while_it_is_made() -> None:
        stage.minter.alive[lease.handle.name] = LeaseId(lease.id)
        stage.pass_time(LONG)

    sweep(at(stage.broker, "sweep.tapped", sleep_while_it_is_made))
    assert lease_now(stage, lease).state is LeaseState.ENDING
    sweep_until_quiet(stage, LONG)
    assert stage.minter.alive == {}
    assert lease_now(stage, lease).state is LeaseState.ENDED


@pytest.mark.parametrize("told", [True, False])
def test_what_an_attempt_ended_and_could_not_record_did_exist(stage: Stage, told: bool) -> None:
    """The next attempt finds nothing, and still does not say that it never existed."""
    if told:
        stage.minter.fail_after_mint.append(OutcomeUnknown())
        failing_ask(stage, stage.start())
    else:
        with pytest.raises(Vanished):
            broker = at(stage.broker, "issue.minted", vanish)
            request_credential(broker, stage.bot, stage.ask(stage.start()))
        stage.pass_time(timedelta(seconds=31))
    with pytest.raises(Vanished):
        sweep(at(stage.broker, "sweep.tapped", vanish))
    assert stage.minter.alive == {}
    sweep_until_quiet(stage, LONG)
    assert leases(stage)[0].proof is Proof.VERIFIED
