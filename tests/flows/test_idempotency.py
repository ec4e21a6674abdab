"""Stories of repeated requests: the idempotency table, row by row."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import (
    WRITE,
    approved,
    facts,
    grant_now,
    issued,
    kinds,
    lease_now,
    leases,
    sweep_until_quiet,
    waiting,
)
from valetkey.core.errors import (
    AlreadyDecided,
    AlreadyDelivered,
    ApprovalTimedOut,
    ApprovalVoid,
    BrokerError,
    DeniedByPerson,
    DeniedByPolicy,
    IdempotencyMismatch,
    InProgress,
    MintedTooLong,
    MinterUnavailable,
    RedeliveryRefused,
)
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.task import Task
from valetkey.flows.approve import deny, time_out_grants, withdraw
from valetkey.flows.collect import collect
from valetkey.flows.request_credential import request_credential
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.testing.brokers import Stage


def test_repeating_while_minting_is_in_progress(stage: Stage) -> None:
    """The second asker learns the lease and waits; nothing is minted twice."""
    ask = stage.ask(stage.start())
    met: list[BrokerError] = []

    def repeat() -> None:
        with pytest.raises(InProgress) as refused:
            request_credential(stage.broker, stage.bot, ask)
        met.append(refused.value)

    stage.minter.before_mint = repeat
    lease = issued(stage, ask).lease
    assert met[0].extra == {"lease_id": lease.id, "lease_state": "minting"}
    assert met[0].retry_after == 2
    assert len(leases(stage)) == 1


def test_repeating_within_half_a_minute_is_in_progress(stage: Stage) -> None:
    """The first answer may still be on its way."""
    ask = stage.ask(stage.start())
    issued(stage, ask)
    stage.pass_time(timedelta(seconds=29))
    with pytest.raises(InProgress):
        request_credential(stage.broker, stage.bot, ask)


def test_repeating_later_is_already_delivered_and_shows_no_secret(stage: Stage) -> None:
    """A secret is handed out once; the repeat gets the lease id and its state."""
    ask = stage.ask(stage.start())
    lease = issued(stage, ask).lease
    stage.pass_time(timedelta(seconds=30))
    with pytest.raises(AlreadyDelivered) as refused:
        request_credential(stage.broker, stage.bot, ask)
    assert refused.value.extra == {"lease_id": lease.id, "lease_state": "active"}
    assert len(leases(stage)) == 1


def test_a_key_with_another_body_is_a_mismatch(stage: Stage) -> None:
    """One key, one ask: any other scope, time or reason is refused."""
    task = stage.start()
    ask = stage.ask(task)
    issued(stage, ask)
    for change in (
        {"scope": "orders-db:read{region=us}"},
        {"ttl": timedelta(seconds=60)},
        {"reason": "another"},
    ):
        other = stage.ask(task, idempotency_key=ask.idempotency_key, **change)
        with pytest.raises(IdempotencyMismatch):
            request_credential(stage.broker, stage.bot, other)
    assert len(leases(stage)) == 1


def test_the_same_key_in_another_task_is_another_request(stage: Stage) -> None:
    """A key belongs to agent and task."""
    first = stage.ask(stage.start())
    issued(stage, first)
    second = stage.ask(stage.start(), idempotency_key=first.idempotency_key)
    assert issued(stage, second).lease.state is LeaseState.ACTIVE


def test_a_denial_is_answered_again_as_it_was(stage: Stage) -> None:
    """The rules may have changed since; the answer to this key has not."""
    task = stage.start("orders-db:drop")
    ask = stage.ask(task, "orders-db:drop{region=eu}")
    with pytest.raises(DeniedByPolicy) as first:
        request_credential(stage.broker, stage.bot, ask)
    del stage.policy.outcomes["read"]
    with pytest.raises(DeniedByPolicy) as second:
        request_credential(stage.broker, stage.bot, ask)
    assert second.value.decision_id == first.value.decision_id
    assert kinds(stage).count("AskDenied") == 1


def test_a_waiting_grant_is_answered_again_as_it_was(stage: Stage) -> None:
    """The same grant waits; a second one is not made."""
    ask = stage.ask(stage.start(), WRITE)
    first = request_credential(stage.broker, stage.bot, ask)
    second = request_credential(stage.broker, stage.bot, ask)
    assert isinstance(first, Waiting)
    assert isinstance(second, Waiting)
    assert second.grant.id == first.grant.id
    assert len(facts(stage, kind="AskWaiting")) == 1


def test_what_people_decided_is_answered_again_as_it_was(stage: Stage) -> None:
    """Denied, withdrawn and timed out each keep their own code under the same key."""
    task = stage.start()
    asks = [stage.ask(task, WRITE) for _ in range(4)]
    for ask in asks:
        request_credential(stage.broker, stage.bot, ask)
    with stage.broker.store.transaction() as tx:
        grants = [tx.grant_by_key(task.id, ask.idempotency_key) for ask in asks]
    ids = [grant.id for grant in grants if grant is not None]
    deny(stage.broker, stage.approver, ids[0])
    withdraw(stage.broker, stage.bot, ids[1])
    approved(stage, grant_now(stage, ids[3]))
    stage.rules.catalogue = type(stage.rules.catalogue)(stage.rules.catalogue.targets, "changed")
    with pytest.raises(ApprovalVoid):
        collect(stage.broker, stage.bot, ids[3])
    stage.pass_time(timedelta(minutes=15))
    time_out_grants(stage.broker)
    refusals = (DeniedByPerson, AlreadyDecided, ApprovalTimedOut, ApprovalVoid)
    for ask, refusal in zip(asks, refusals, strict=True):
        with pytest.raises(refusal):
            request_credential(stage.broker, stage.bot, ask)
    assert stage.minter.alive == {}


def days(stage: Stage) -> Task:
    """A task that lasts for two days, where tasks may."""
    limits = replace(stage.broker.limits, longest_task=timedelta(days=2))
    stage.broker = replace(stage.broker, limits=limits)
    return stage.start(minutes=2 * 24 * 60)


def test_a_day_after_the_end_of_its_lease_a_key_is_free_again(stage: Stage) -> None:
    """Until then it was delivered; after that even another ask may have it, on record."""
    task = days(stage)
    ask = stage.ask(task)
    first = issued(stage, ask).lease
    stage.pass_time(timedelta(minutes=20))
    sweep(stage.broker)
    ended_at = lease_now(stage, first).ended_at
    assert ended_at is not None
    stage.pass_time(timedelta(hours=24) - timedelta(seconds=1))
    with pytest.raises(AlreadyDelivered):
        request_credential(stage.broker, stage.bot, ask)
    stage.pass_time(timedelta(seconds=1))
    other = replace(ask, reason="another ask", ttl=timedelta(seconds=60))
    second = issued(stage, other).lease
    assert second.grant_id != first.grant_id
    (fact,) = facts(stage, kind="KeyForgotten")
    assert fact.fact.grant_id == first.grant_id
    with pytest.raises(IdempotencyMismatch):
        request_credential(stage.broker, stage.bot, ask)


def test_an_approval_is_not_used_again_a_day_later(stage: Stage) -> None:
    """What people agreed to was for then: the same key and ask wait for people again."""
    ask = stage.ask(days(stage), WRITE)
    first = request_credential(stage.broker, stage.bot, ask)
    assert isinstance(first, Waiting)
    approved(stage, first.grant)
    assert isinstance(collect(stage.broker, stage.bot, first.grant.id), Issued)
    stage.pass_time(timedelta(hours=1))
    sweep(stage.broker)
    stage.pass_time(timedelta(hours=24))
    again = request_credential(stage.broker, stage.bot, ask)
    assert isinstance(again, Waiting)
    assert again.grant.id != first.grant.id


def test_who_names_the_lost_lease_still_means_it_a_day_later(stage: Stage) -> None:
    """Its time is over, so that it is refused, and nothing new is made by the way."""
    ask = stage.ask(days(stage))
    lost = issued(stage, ask).lease
    stage.pass_time(timedelta(hours=1))
    sweep(stage.broker)
    stage.pass_time(timedelta(hours=24))
    with pytest.raises(RedeliveryRefused):
        request_credential(stage.broker, stage.bot, ask, lost.id)
    assert len(leases(stage)) == 1


def test_a_lost_answer_is_redelivered_once_the_old_end_is_proven(stage: Stage) -> None:
    """The old credential is ended with proof first, then a new generation is minted."""
    ask = stage.ask(stage.start())
    lost = issued(stage, ask)
    again = issued(stage, ask, redeliver=lost.lease.id)
    assert again.lease.id != lost.lease.id
    assert again.secret.reveal() != lost.secret.reveal()
    old = lease_now(stage, lost.lease)
    assert (old.end_reason, old.proof) == ("redelivered", Proof.VERIFIED)
    assert list(stage.minter.alive) == [again.lease.handle.name]


def test_a_redelivery_keeps_the_time_and_the_rule_that_cut_it(stage: Stage) -> None:
    """The new generation says what the first one said."""
    ask = stage.ask(stage.start(), ttl=timedelta(hours=1))
    lost = issued(stage, ask).lease
    again = issued(stage, ask, redeliver=lost.id).lease
    assert (again.requested_ttl, again.granted_ttl) == (lost.requested_ttl, lost.granted_ttl)
    assert again.cut_by == lost.cut_by == "scope"


def test_a_redelivery_waits_for_a_proof(stage: Stage) -> None:
    """While the old credential cannot be ended, there is no new one."""
    ask = stage.ask(stage.start(), ttl=timedelta(minutes=15))
    lost = issued(stage, ask).lease
    stage.minter.fail_end.extend(MinterUnavailable() for _ in range(20))
    with pytest.raises(RedeliveryRefused):
        request_credential(stage.broker, stage.bot, ask, lost.id)
    assert lease_now(stage, lost).state is not LeaseState.ENDED
    stage.minter.fail_end.clear()
    sweep_until_quiet(stage, timedelta(minutes=6))
    assert issued(stage, ask, redeliver=lost.id).lease.state is LeaseState.ACTIVE


def test_a_grant_is_redelivered_three_times_at_most(stage: Stage) -> None:
    """The fourth is refused, and the credential that is out is left alone."""
    ask = stage.ask(stage.start())
    lease = issued(stage, ask).lease
    for _ in range(3):
        lease = issued(stage, ask, redeliver=lease.id).lease
    with pytest.raises(RedeliveryRefused):
        request_credential(stage.broker, stage.bot, ask, lease.id)
    assert lease_now(stage, lease).state is LeaseState.ACTIVE
    assert len(leases(stage)) == 4


def test_only_the_latest_lease_of_the_request_can_be_redelivered(stage: Stage) -> None:
    """An older lease, or that of another request, ends nothing."""
    task = stage.start()
    ask = stage.ask(task)
    first = issued(stage, ask).lease
    second = issued(stage, ask, redeliver=first.id).lease
    other = issued(stage, stage.ask(task)).lease
    for named in (first.id, other.id, "lease_unknown"):
        with pytest.raises(RedeliveryRefused):
            request_credential(stage.broker, stage.bot, ask, named)
    assert lease_now(stage, second).state is LeaseState.ACTIVE
    assert lease_now(stage, other).state is LeaseState.ACTIVE


def test_a_retry_after_a_failed_mint_works_with_the_same_key(stage: Stage) -> None:
    """That answer can never have held a credential."""
    ask = stage.ask(stage.start())
    stage.minter.fail_mint.append(MinterUnavailable())
    with pytest.raises(MinterUnavailable):
        request_credential(stage.broker, stage.bot, ask)
    assert issued(stage, ask).lease.state is LeaseState.ACTIVE
    assert len(leases(stage)) == 2


def test_a_retry_after_a_withheld_mint_works_with_the_same_key(stage: Stage) -> None:
    """What was minted too long never left, so the key may be tried again."""
    ask = stage.ask(stage.start())
    stage.minter.extra_life = timedelta(seconds=1)
    with pytest.raises(MintedTooLong):
        request_credential(stage.broker, stage.bot, ask)
    stage.minter.extra_life = timedelta(0)
    assert issued(stage, ask).lease.state is LeaseState.ACTIVE


def test_a_collected_grant_is_redelivered_too(stage: Stage) -> None:
    """The same rules hold for an approved grant, under the approval it was given."""
    grant = approved(stage, waiting(stage, stage.start()))
    lost = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(lost, Issued)
    with pytest.raises(InProgress):
        collect(stage.broker, stage.bot, grant.id)
    again = collect(stage.broker, stage.bot, grant.id, lost.lease.id)
    assert isinstance(again, Issued)
    assert lease_now(stage, lost.lease).proof is Proof.VERIFIED
    assert list(stage.minter.alive) == [again.lease.handle.name]


def test_a_revoked_credential_is_not_handed_out_again_by_its_key(stage: Stage) -> None:
    """Without `Redeliver` a delivered request stays delivered, whatever became of its lease."""
    ask = stage.ask(stage.start())
    issued(stage, ask)
    stage.pass_time(timedelta(minutes=6))
    sweep(stage.broker)
    with pytest.raises(AlreadyDelivered):
        request_credential(stage.broker, stage.bot, ask)
