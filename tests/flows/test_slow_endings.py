"""Stories of back ends that are slow or cannot be looked at: they delay an end, never lose it."""

from __future__ import annotations

from contextlib import suppress

from tests.flows.stories import MOMENT, issued, kinds, lease_now, sweep_until_quiet
from valetkey.core.errors import BrokerError, MinterUnavailable
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage


def revoked(stage: Stage) -> Lease:
    """A credential that was out and is on its way back."""
    lease = issued(stage, stage.ask(stage.start())).lease
    return revoke_lease(stage.broker, stage.operator, lease.id)


def claim_again(stage: Stage) -> None:
    """The claim runs out while its worker is at it, and another sweep claims the lease."""
    stage.pass_time(stage.broker.patience.claim + MOMENT)
    with stage.broker.store.transaction() as tx:
        assert tx.claim_due(10, stage.broker.patience.claim, (), ())


def test_an_end_that_takes_longer_than_its_claim_still_counts(stage: Stage) -> None:
    """Being claimed again meanwhile does not undo what the first worker saw."""
    lease = revoked(stage)
    stage.minter.before_end = lambda: claim_again(stage)
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_a_failure_that_takes_longer_than_its_claim_still_counts(stage: Stage) -> None:
    """Otherwise a back end that hangs would never make a lease stuck, and nobody would be told."""
    lease = revoked(stage)
    stage.minter.before_end = lambda: claim_again(stage)
    stage.minter.fail_end.append(MinterUnavailable())
    sweep(stage.broker)
    assert lease_now(stage, lease).last_error is not None
    assert kinds(stage)[-1] == "LeaseEndFailed"


def test_an_outcome_is_dropped_when_the_lease_itself_was_moved_meanwhile(stage: Stage) -> None:
    """A tap before the mint came back proves nothing about what the mint made."""
    stage.minter.fail_after_mint.append(MinterUnavailable())
    task = stage.start()
    with suppress(BrokerError):
        issued(stage, stage.ask(task))
    lease = end_task(stage.broker, stage.bot, task.id).leases[0]
    stage.pass_time(lease.second_tap_at - stage.broker.store.now())

    def mint_came_back() -> None:
        with stage.broker.store.transaction() as tx:
            now = lease_now(stage, lease)
            tx.save_lease(now.activated(tx.now(), now.backend_expires_at, "ref", ()))

    stage.minter.before_end = mint_came_back
    sweep(stage.broker)
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


def test_a_blind_inspector_keeps_nothing_from_being_ended(stage: Stage) -> None:
    """The back end is told to end it; only the proof waits until we can look again."""
    stage.minter.fail_after_mint.append(MinterUnavailable())
    stage.minter.fail_probe.extend(MinterUnavailable() for _ in range(2))
    task = stage.start()
    with suppress(BrokerError):
        issued(stage, stage.ask(task))
    sweep(stage.broker)
    assert stage.minter.alive == {}
    sweep_until_quiet(stage, stage.broker.patience.second_tap * 2)
    (lease,) = end_task(stage.broker, stage.bot, task.id).leases
    assert lease.proof is Proof.VERIFIED, "ended unseen is not `never_existed`"
