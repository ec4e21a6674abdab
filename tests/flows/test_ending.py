"""Stories of endings: by whom, with which proof, and how long we go on trying."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import MOMENT, facts, issued, kinds, lease_now, sweep_until_quiet
from valetkey.core.errors import MinterUnavailable, NotFound
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage


def out(stage: Stage) -> Lease:
    """A credential that is out."""
    return issued(stage, stage.ask(stage.start())).lease


def test_a_revoked_lease_is_ended_and_verified(stage: Stage) -> None:
    """The back end ended it, and our own look found nothing."""
    lease = out(stage)
    assert revoke_lease(stage.broker, stage.operator, lease.id).state is LeaseState.ENDING
    sweep(stage.broker)
    ended = lease_now(stage, lease)
    assert (ended.state, ended.end_reason, ended.proof) == (
        LeaseState.ENDED,
        "revoked",
        Proof.VERIFIED,
    )
    assert ended.still_valid_until is None
    assert kinds(stage, lease_id=lease.id)[-2:] == ["LeaseEnding", "LeaseEnded"]


def test_revoking_twice_equals_once(stage: Stage) -> None:
    """One ending, one fact, one call outside; also after it ended."""
    lease = out(stage)
    for _ in range(2):
        revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    before = kinds(stage)
    assert revoke_lease(stage.broker, stage.operator, lease.id).state is LeaseState.ENDED
    assert kinds(stage) == before
    assert before.count("LeaseEnding") == 1
    assert stage.minter.ends == 1
    assert sweep(stage.broker) == 0


def test_agent_owner_and_operator_may_revoke_and_nobody_else(stage: Stage) -> None:
    """For a stranger there is no such lease."""
    stranger = stage.person("sam@example.com", roles={"auditor", "approver"})
    for may in (stage.bot, stage.owner, stage.operator):
        assert revoke_lease(stage.broker, may, out(stage).id).state is LeaseState.ENDING
    lease = out(stage)
    with pytest.raises(NotFound):
        revoke_lease(stage.broker, stranger, lease.id)
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


def test_a_minter_that_cannot_look_confirms_and_never_verifies(stage: Stage) -> None:
    """The back end said so, we could not look: that is what the proof says."""
    stage.minter.looks = False
    lease = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.CONFIRMED


def test_what_cannot_be_cut_ends_only_when_its_real_end_has_passed(stage: Stage) -> None:
    """Until then the answer says until when it works; then the proof is `expired`."""
    stage.minter.cuttable = False
    lease = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    waiting = lease_now(stage, lease)
    assert waiting.state is LeaseState.ENDING
    assert waiting.still_valid_until == lease.backend_expires_at
    assert kinds(stage)[-1] == "LeaseStillValid"
    stage.pass_time(lease.backend_expires_at - stage.broker.store.now() - MOMENT)
    assert sweep(stage.broker) == 0
    stage.pass_time(MOMENT)
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.EXPIRED


def test_an_expired_uncuttable_lease_is_not_called_ended_a_moment_early(stage: Stage) -> None:
    """When the back end lets it live longer than our own end, we wait for the later one."""
    stage.minter.cuttable = False
    stage.minter.after_mint = lambda: stage.pass_time(timedelta(seconds=3))
    lease = out(stage)
    stage.pass_time(lease.expires_at - stage.broker.store.now())
    sweep_until_quiet(stage, timedelta(minutes=1))
    ended = lease_now(stage, lease)
    assert ended.ended_at is not None
    assert ended.ended_at >= lease.backend_expires_at
    assert ended.proof is Proof.EXPIRED


def test_a_back_end_that_says_gone_but_is_not_believed(stage: Stage) -> None:
    """Our own look still finds it: that is a failure, tried again."""
    lease = out(stage)
    stage.minter.lingers = True
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    doubted = lease_now(stage, lease)
    assert doubted.state is LeaseState.ENDING
    assert doubted.last_error == "the target still knows it"
    assert kinds(stage)[-1] == "LeaseEndFailed"


def test_a_failing_end_is_tried_again_until_it_succeeds(stage: Stage) -> None:
    """Every failure is on record, and the first success ends it with proof."""
    lease = out(stage)
    stage.minter.fail_end.extend(MinterUnavailable() for _ in range(3))
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep_until_quiet(stage, timedelta(minutes=1))
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    assert len(facts(stage, kind="LeaseEndFailed")) == 3


def test_a_lease_that_cannot_be_ended_becomes_stuck_and_is_still_retried(stage: Stage) -> None:
    """Humans are told as it ages; the retries never stop and never wait over five minutes."""
    lease = out(stage)
    stage.minter.fail_end.extend(MinterUnavailable() for _ in range(60))
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep_until_quiet(stage, timedelta(hours=2))
    stuck = lease_now(stage, lease)
    assert stuck.state is LeaseState.STUCK
    assert [about["lease"] for _, about in stage.alarms.alarms] == [lease.id] * 2
    assert kinds(stage).count("LeaseStuck") == 1
    assert stuck.due_at is not None
    assert stuck.due_at <= stage.broker.store.now() + timedelta(minutes=5)
    stage.minter.fail_end.clear()
    sweep_until_quiet(stage, timedelta(minutes=6))
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_a_worker_that_dies_mid_sweep_is_made_good(stage: Stage) -> None:
    """The claim runs out, and another sweep ends the lease."""

    class Died(BaseException):
        """The process is gone."""

    lease = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)

    def die() -> None:
        raise Died

    stage.minter.before_end = die
    with pytest.raises(Died):
        sweep(stage.broker)
    stage.minter.before_end = lambda: None
    assert sweep(stage.broker) == 0
    stage.pass_time(stage.broker.patience.claim)
    assert sweep(stage.broker) == 1
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_what_was_seen_outside_stays_seen_when_its_end_fails(stage: Stage) -> None:
    """A doubtful mint that was seen once is never called `never_existed`."""
    stage.minter.fail_after_mint.append(MinterUnavailable())
    task = stage.start()
    with pytest.raises(MinterUnavailable):
        issued(stage, stage.ask(task))

    def fail() -> None:
        raise MinterUnavailable()

    stage.minter.after_end = fail
    sweep(stage.broker)
    stage.minter.after_end = lambda: None
    sweep_until_quiet(stage, timedelta(minutes=4))
    (lease,) = end_task(stage.broker, stage.bot, task.id).leases
    assert lease.proof is Proof.VERIFIED


def test_a_stuck_lease_is_told_again_as_it_ages(stage: Stage) -> None:
    """When it becomes stuck, after an hour, after a day, and then every day; by one replica."""
    lease = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    began = stage.broker.store.now()
    told: list[timedelta] = []
    for _ in range(int(timedelta(days=3, hours=1) / timedelta(minutes=5))):
        stage.pass_time(timedelta(minutes=5))
        stage.minter.fail_end.append(MinterUnavailable())
        sweep(stage.broker)
        told += [stage.broker.store.now() - began] * (len(stage.alarms.alarms) - len(told))
    hours = [round(age / timedelta(hours=1)) for age in told]
    assert hours == [0, 1, 24, 48, 72]
    assert {about["problem"] for _, about in stage.alarms.alarms} == {
        lease_now(stage, lease).last_error
    }


def test_a_lease_of_a_minter_that_is_no_longer_configured_is_never_forgotten(
    stage: Stage,
) -> None:
    """It cannot be ended here, so it becomes stuck in front of a human."""
    lease = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    without = replace(stage.broker, minters={})
    for _ in range(400):
        stage.pass_time(timedelta(seconds=10))
        try:
            sweep(without)
        except KeyError:
            continue
    stuck = lease_now(stage, lease)
    assert stuck.state is LeaseState.STUCK
    assert stuck.last_error == "defect: KeyError"
    assert len(stage.alarms.alarms) == 2  # when it became stuck, and after an hour


def test_one_sick_lease_does_not_keep_others_from_ending(stage: Stage) -> None:
    """The failing one backs off, the healthy one is verified in the same sweep."""
    sick, well = out(stage), out(stage)
    stage.minter.fail_end.append(MinterUnavailable())
    for lease in (sick, well):
        revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    assert lease_now(stage, sick).state is LeaseState.ENDING
    assert lease_now(stage, well).proof is Proof.VERIFIED


def test_what_may_have_expired_unseen_is_not_said_never_to_have_existed(stage: Stage) -> None:
    """Every replica died after the mint and stayed away until the credential expired by itself."""
    task = stage.start()

    def die(step: str) -> None:
        if step == "issue.minted":
            raise SystemExit

    with pytest.raises(SystemExit):
        request_credential(replace(stage.broker, failpoint=die), stage.bot, stage.ask(task))
    stage.pass_time(timedelta(minutes=10))
    stage.minter.alive.clear()
    sweep_until_quiet(stage, timedelta(minutes=10))
    (lease,) = end_task(stage.broker, stage.bot, task.id).leases
    assert lease.proof is Proof.VERIFIED
