"""Stories of acknowledgement: what a scope wants to hear of, and nobody speaks of, ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import issued, kinds, lease_now, leases
from valetkey.core.errors import MinterUnavailable, NotFound, RedeliveryRefused
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.acknowledge import acknowledge
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage, small_catalogue

SOON = timedelta(seconds=30)


@pytest.fixture
def stage() -> Stage:
    """A stage where every scope wants to hear within half a minute."""
    stage = Stage()
    catalogue = small_catalogue()
    target = catalogue.targets["orders-db"]
    scopes = {name: replace(scope, ack_within=SOON) for name, scope in target.scopes.items()}
    stage.rules.catalogue = replace(
        catalogue, targets={"orders-db": replace(target, scopes=scopes)}
    )
    return stage


def acked(stage: Stage, lease: Lease) -> Lease:
    """The lease after its agent said that it came."""
    return acknowledge(stage.broker, stage.bot, lease.id)


def test_what_is_never_acknowledged_ends(stage: Stage) -> None:
    """At `ack_by`, with the reason, long before its TTL."""
    lease = issued(stage, stage.ask(stage.start())).lease
    assert lease.ack_by == lease.created_at + SOON
    stage.pass_time(SOON)
    sweep(stage.broker)
    ended = lease_now(stage, lease)
    assert (ended.end_reason, ended.proof) == ("unacknowledged", Proof.VERIFIED)


def test_what_is_acknowledged_lives_for_its_ttl(stage: Stage) -> None:
    """Then it expires as ever."""
    lease = issued(stage, stage.ask(stage.start())).lease
    assert acked(stage, lease).due_at == lease.expires_at
    stage.pass_time(SOON * 2)
    sweep(stage.broker)
    assert lease_now(stage, lease).state is LeaseState.ACTIVE
    stage.pass_time(lease.expires_at - stage.broker.store.now())
    sweep(stage.broker)
    assert lease_now(stage, lease).end_reason == "expired"


def test_acknowledging_twice_is_once(stage: Stage) -> None:
    """The first time counts, with one fact."""
    lease = issued(stage, stage.ask(stage.start())).lease
    first = acked(stage, lease)
    stage.pass_time(timedelta(seconds=5))
    assert acked(stage, lease).acknowledged_at == first.acknowledged_at
    assert kinds(stage, lease_id=lease.id).count("LeaseAcknowledged") == 1


def test_an_acknowledgement_after_the_end_brings_nothing_back(stage: Stage) -> None:
    """It is told what the lease is."""
    lease = issued(stage, stage.ask(stage.start())).lease
    revoke_lease(stage.broker, stage.owner, lease.id)
    assert acked(stage, lease).state is LeaseState.ENDING
    sweep(stage.broker)
    assert acked(stage, lease) == lease_now(stage, lease)
    assert lease_now(stage, lease).acknowledged_at is None


def test_only_the_key_that_asked_may_acknowledge(stage: Stage) -> None:
    """For others there is no such lease."""
    lease = issued(stage, stage.ask(stage.start())).lease
    for caller in (replace(stage.bot, jkt="other"), stage.owner, stage.operator):
        with pytest.raises(NotFound):
            acknowledge(stage.broker, caller, lease.id)
    with pytest.raises(NotFound):
        acknowledge(stage.broker, stage.bot, "lease_unknown")


def test_an_unacknowledged_lease_may_be_asked_for_again(stage: Stage) -> None:
    """Its answer was lost, so far as we know."""
    ask = stage.ask(stage.start())
    lost = issued(stage, ask).lease
    stage.pass_time(SOON)
    sweep(stage.broker)
    again = issued(stage, ask, redeliver=lost.id).lease
    assert again.ack_by == again.created_at + SOON
    assert list(stage.minter.alive.values()) == [again.id]


def test_a_scope_that_says_nothing_waits_for_nothing() -> None:
    """The lease says no `ack_by`, and an acknowledgement is noted all the same."""
    stage = Stage()
    lease = issued(stage, stage.ask(stage.start())).lease
    assert (lease.ack_by, lease.due_at) == (None, lease.expires_at)
    assert acked(stage, lease).acknowledged_at is not None


def test_mints_that_failed_do_not_count_as_redeliveries(stage: Stage) -> None:
    """Three deliveries are had again, however often the back end was away in between."""
    ask = stage.ask(stage.start())
    lease = issued(stage, ask).lease
    for _ in range(3):
        stage.minter.fail_mint.append(MinterUnavailable())
        with pytest.raises(MinterUnavailable):
            request_credential(stage.broker, stage.bot, ask, lease.id)
        failed = leases(stage)[0]
        stage.pass_time(timedelta(seconds=1))
        lease = issued(stage, ask, redeliver=failed.id).lease
    with pytest.raises(RedeliveryRefused):
        issued(stage, ask, redeliver=lease.id)
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


@pytest.mark.parametrize("ended", [False, True])
def test_revoking_what_ends_to_be_given_again_stops_the_next(stage: Stage, ended: bool) -> None:
    """Whether its end is proven by then or not: somebody took it away."""
    ask = stage.ask(stage.start())
    lost = issued(stage, ask).lease

    def revokes() -> None:
        revoke_lease(stage.broker, stage.owner, lost.id)

    if ended:
        stage.minter.fail_mint.append(MinterUnavailable())
        with pytest.raises(RedeliveryRefused):
            stage.minter.fail_end = [MinterUnavailable()] * 9
            request_credential(stage.broker, stage.bot, ask, lost.id)
        stage.minter.fail_end = []
        stage.pass_time(timedelta(minutes=5))
        sweep(stage.broker)
        assert lease_now(stage, lost).state is LeaseState.ENDED
        revokes()
    else:
        stage.minter.before_end = revokes
    with pytest.raises(RedeliveryRefused):
        issued(stage, ask, redeliver=lost.id)
    now = lease_now(stage, lost)
    assert (now.end_reason, now.proof) == ("revoked", Proof.VERIFIED)
    assert kinds(stage, lease_id=lost.id).count("LeaseTakenAway") == 1
    assert stage.minter.alive == {}
