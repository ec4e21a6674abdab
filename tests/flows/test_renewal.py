"""Stories of renewal: alive for longer, under the rules of now, and never longer than the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import (
    approved,
    facts,
    issued,
    kinds,
    lease_now,
    sweep_until_quiet,
    waiting,
)
from valetkey.core.ask import canonical_hash, life_of
from valetkey.core.decision import Outcome
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    DeniedByPolicy,
    InProgress,
    InvalidTtl,
    Killed,
    LeaseEnded,
    MintedTooLong,
    MinterRefused,
    NotFound,
    NotRenewable,
    OutcomeUnknown,
    TaskEnded,
)
from valetkey.core.kill import Height
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.agents import disable_agent
from valetkey.flows.collect import collect
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.explain import explain
from valetkey.flows.kill import kill, release_kill
from valetkey.flows.renew import renew
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued
from valetkey.testing.brokers import Stage, small_catalogue

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def stage() -> Stage:
    """A stage whose scopes may live for two hours by renewals, though each TTL is short."""
    stage = Stage()
    catalogue = small_catalogue()
    target = catalogue.targets["orders-db"]
    scopes = {
        name: replace(scope, max_life=2 * HOUR) for name, scope in target.scopes.items()
    }
    stage.rules.catalogue = replace(
        catalogue, targets={"orders-db": replace(target, scopes=scopes)}
    )
    return stage


def got(stage: Stage, *, life: timedelta = HOUR, task_minutes: int = 240) -> Lease:
    """A lease of five minutes, a minute old, that renewals may keep alive for so long."""
    ask = stage.ask(stage.start(minutes=task_minutes), renewable_for=life)
    lease = issued(stage, ask).lease
    stage.pass_time(MINUTE)
    return lease_now(stage, lease)


def renewed(stage: Stage, lease: Lease) -> Lease:
    """The lease after its agent renewed it."""
    return renew(stage.broker, stage.bot, lease.id)


def test_a_renewal_lets_the_same_credential_live_for_its_ttl_again(stage: Stage) -> None:
    """No new secret, no new lease; when we act, the record and the back end move together."""
    lease = got(stage)
    stage.pass_time(3 * MINUTE)
    longer = renewed(stage, lease)
    assert longer.expires_at == stage.broker.store.now() + 5 * MINUTE
    assert longer.backend_expires_at == longer.expires_at
    assert (longer.renewals, longer.second_tap_at) == (1, lease.second_tap_at)
    assert stage.minter.renewals == [(lease.handle.name, 5 * MINUTE)]
    assert kinds(stage, lease_id=lease.id)[-2:] == ["LeaseRenewing", "LeaseRenewed"]
    assert len(stage.minter.secrets_made) == 1
    assert doctor(stage.broker) == []


def test_the_record_is_extended_before_the_back_end_is_asked(stage: Stage) -> None:
    """While it is asked, the record says the latest it could come to, and a tap is owed."""
    lease, seen = got(stage), []
    stage.minter.before_renew = lambda: seen.append(lease_now(stage, lease))
    stage.pass_time(MINUTE)
    renewed(stage, lease)
    patience, now = stage.broker.patience, stage.broker.store.now()
    over = now + patience.mint_limit + patience.second_tap
    assert (seen[0].second_tap_at, seen[0].backend_expires_at) == (over, over + 5 * MINUTE)
    assert seen[0].expires_at == lease.expires_at


def test_renewals_go_on_until_the_whole_life_is_over_and_not_beyond(stage: Stage) -> None:
    """The last one is cut to what is left; then there is none, and the lease expires in time."""
    lease = got(stage, life=17 * MINUTE)
    end = lease.created_at + 17 * MINUTE
    while lease.renew_by is not None:
        stage.pass_time(3 * MINUTE)
        lease = renewed(stage, lease)
    assert (lease.expires_at, lease.renewable_until) == (end, end)
    with pytest.raises(NotRenewable):
        renewed(stage, lease)
    stage.pass_time(end - stage.broker.store.now())
    sweep(stage.broker)
    assert (lease_now(stage, lease).end_reason, stage.minter.alive) == ("expired", {})


def test_a_renewal_ends_with_the_task(stage: Stage) -> None:
    """The task's deadline bounds the whole life, when it is asked for and at each renewal."""
    lease = got(stage, task_minutes=7)
    assert lease.renewable_until == lease.created_at + 7 * MINUTE
    stage.pass_time(3 * MINUTE)
    assert renewed(stage, lease).expires_at == lease.renewable_until


def test_the_scope_bounds_the_whole_life(stage: Stage) -> None:
    """`max_life` where the catalogue gives one, else `max_ttl`."""
    assert got(stage, life=12 * HOUR, task_minutes=480).renewable_for == 2 * HOUR
    stage.rules.catalogue = small_catalogue()
    assert got(stage, life=12 * HOUR).renewable_for == 15 * MINUTE


def test_policy_judges_the_whole_life_and_cuts_it(stage: Stage) -> None:
    """A rule about time means the longest time that may be reached."""
    ask = stage.ask(stage.start(minutes=240), renewable_for=HOUR)
    assert explain(stage.broker, stage.bot, ask).decision.recorded_input == {"ttl": 3600}
    stage.policy.max_ttl = 30 * MINUTE
    assert explain(stage.broker, stage.bot, ask).life == 30 * MINUTE


def test_a_rule_that_became_narrower_bounds_the_next_renewal(stage: Stage) -> None:
    """The whole life is counted from its beginning, not from now."""
    lease = got(stage)
    stage.policy.max_ttl = 6 * MINUTE
    stage.pass_time(3 * MINUTE)
    assert renewed(stage, lease).expires_at == lease.created_at + 6 * MINUTE


def test_a_renewal_that_policy_denies_now_is_refused_and_told(stage: Stage) -> None:
    """The credential ends when it would have; the decision is on record with its input."""
    lease = got(stage)
    stage.policy.outcomes["read"] = Outcome.DENY
    stage.pass_time(MINUTE)
    with pytest.raises(DeniedByPolicy) as refused:
        renewed(stage, lease)
    assert lease_now(stage, lease) == lease
    told = facts(stage, lease_id=lease.id)[-1].fact
    assert (told.kind.value, told.outcome) == ("RenewalFailed", "denied_by_policy")
    assert told.decision_id == refused.value.decision_id


def test_people_see_the_whole_life_and_a_renewal_needs_no_second_yes(stage: Stage) -> None:
    """It is in what they are bound to; without one the hash is what it always was."""
    task = stage.start(minutes=240)
    grant = approved(stage, waiting(stage, task, renewable_for=HOUR))
    assert grant.shown is not None
    assert (grant.shown["renewable_for"], grant.renewable_for) == (3600, HOUR)
    answer = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(answer, Issued)
    stage.pass_time(MINUTE)
    assert renewed(stage, answer.lease).renewals == 1
    plain = waiting(stage, task)
    assert "renewable_for" not in (plain.shown or {})


def test_an_ask_without_renewal_has_the_hash_it_always_had() -> None:
    """What was asked before renewals existed is still the same request."""
    stage = Stage()
    ask = stage.ask(stage.start())
    same = {"task": ask.task_id, "scope": str(ask.scope), "ttl": 300, "reason": "because"}
    assert ask.hash == canonical_hash(same)
    assert replace(ask, renewable_for=HOUR).hash != ask.hash


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=4)])
def test_a_renewal_must_come_before_renew_by(stage: Stage, late: timedelta) -> None:
    """A moment before its end it is too late; after it, the lease is on its way out."""
    lease = got(stage)
    assert lease.renew_by == lease.expires_at - timedelta(seconds=5)
    stage.pass_time(lease.renew_by - stage.broker.store.now() + late)
    with pytest.raises(NotRenewable):
        renewed(stage, lease)


def test_what_was_not_asked_to_be_renewable_is_not(stage: Stage) -> None:
    """And it says no `renew_by`."""
    lease = issued(stage, stage.ask(stage.start())).lease
    assert lease.renew_by is None
    with pytest.raises(NotRenewable):
        renewed(stage, lease)


def test_what_cannot_be_renewed_is_refused_when_it_is_asked_for(stage: Stage) -> None:
    """Nobody finds out when it is too late."""
    stage.minter.cuttable = False
    with pytest.raises(NotRenewable):
        issued(stage, stage.ask(stage.start(), renewable_for=HOUR))
    assert stage.minter.alive == {}


def test_only_the_key_that_asked_may_renew(stage: Stage) -> None:
    """For another key, a person or another agent there is no such lease."""
    lease = got(stage)
    for caller in (replace(stage.bot, jkt="other"), stage.owner, stage.operator):
        with pytest.raises(NotFound):
            renew(stage.broker, caller, lease.id)


Stops = Callable[[Stage, Lease], object]
STOPS: dict[str, tuple[Stops, type[BrokerError]]] = {
    "revoked": (lambda s, x: revoke_lease(s.broker, s.owner, x.id), LeaseEnded),
    "task ended": (lambda s, x: end_task(s.broker, s.bot, x.task_id or ""), TaskEnded),
    "killed": (lambda s, x: kill(s.broker, s.operator, Height.TARGET, "orders-db", "odd"), Killed),
    "lease killed": (lambda s, x: kill(s.broker, s.operator, Height.LEASE, x.id, "odd"), Killed),
    "disabled": (lambda s, x: disable_agent(s.broker, s.owner, s.agent.id), AgentDisabled),
}


@pytest.mark.parametrize("how", STOPS)
def test_what_is_stopped_before_is_not_renewed(stage: Stage, how: str) -> None:
    """The back end is not even asked."""
    stop, error = STOPS[how]
    lease = got(stage)
    stop(stage, lease)
    with pytest.raises(error):
        renewed(stage, lease)
    assert stage.minter.renewals == []


@pytest.mark.parametrize("how", STOPS)
def test_what_is_stopped_while_it_is_renewed_ends_all_the_same(stage: Stage, how: str) -> None:
    """No renewal is told, nothing rises again, and the end is proven."""
    stop, error = STOPS[how]
    lease = got(stage)
    stage.minter.after_renew = lambda: stop(stage, lease)
    with pytest.raises(error):
        renewed(stage, lease)
    assert lease_now(stage, lease).state is not LeaseState.ACTIVE
    sweep_until_quiet(stage, 4 * MINUTE)
    ended = lease_now(stage, lease)
    assert (ended.state, ended.proof) == (LeaseState.ENDED, Proof.VERIFIED)
    assert stage.minter.alive == {}
    assert doctor(stage.broker) == []


def test_a_kill_that_came_and_went_meanwhile_still_ends_it(stage: Stage) -> None:
    """Released or not: what it marked stays on its way out."""
    lease = got(stage)

    def comes_and_goes() -> None:
        ordered = kill(stage.broker, stage.operator, Height.LEASE, lease.id, "odd")
        other = stage.person("odd@example.com", roles={"operator"})
        fresh = stage.fresh(other, f"release:{ordered.id}")
        release_kill(stage.broker, fresh, ordered.id)

    stage.minter.after_renew = comes_and_goes
    with pytest.raises(LeaseEnded):
        renewed(stage, lease)
    assert lease_now(stage, lease).end_reason == "killed"


def test_a_lost_answer_leaves_the_record_long_and_the_end_where_it_was(stage: Stage) -> None:
    """It may have been renewed: it is ended when it would have been, and tapped twice."""
    lease = got(stage)
    stage.minter.fail_after_renew.append(OutcomeUnknown())
    with pytest.raises(OutcomeUnknown):
        renewed(stage, lease)
    now = lease_now(stage, lease)
    assert now.expires_at == lease.expires_at
    assert now.backend_expires_at > stage.broker.store.now() + 5 * MINUTE
    assert kinds(stage, lease_id=lease.id)[-1] == "RenewalFailed"
    revoke_lease(stage.broker, stage.owner, lease.id)
    sweep(stage.broker)
    assert kinds(stage, lease_id=lease.id)[-1] == "LeaseTapped"
    sweep_until_quiet(stage, 3 * MINUTE)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


@pytest.mark.parametrize("before", [True, False])
def test_a_lost_answer_is_asked_for_again(stage: Stage, before: bool) -> None:
    """The next renewal gives the time; what the lost one may still do stays in the record."""
    lease = got(stage)
    failing = stage.minter.fail_renew if before else stage.minter.fail_after_renew
    failing.append(OutcomeUnknown())
    with pytest.raises(OutcomeUnknown):
        renewed(stage, lease)
    lost = lease_now(stage, lease)
    stage.pass_time(MINUTE)
    again = renewed(stage, lease)
    assert again.expires_at == stage.broker.store.now() + 5 * MINUTE
    assert again.second_tap_at == lost.second_tap_at
    assert again.backend_expires_at == max(lost.backend_expires_at, again.expires_at)
    stage.pass_time(3 * MINUTE)
    settled = renewed(stage, again)
    assert settled.second_tap_at <= stage.broker.store.now()


def test_a_defect_of_a_minter_is_an_unknown_outcome_and_an_alarm(stage: Stage) -> None:
    """Whatever it was, the record stays long, and somebody is told."""
    lease = got(stage)

    def breaks() -> None:
        raise RuntimeError("defect")

    stage.minter.after_renew = breaks
    with pytest.raises(OutcomeUnknown):
        renewed(stage, lease)
    assert lease_now(stage, lease).renewals == 1
    assert "a minter broke while it renewed" in str(stage.alarms.alarms)


def test_two_renewals_at_once_leave_the_record_to_the_later(stage: Stage) -> None:
    """The earlier shortens nothing that the later may have made longer."""
    lease = got(stage)
    inner: list[Lease] = []

    def overtaken() -> None:
        stage.minter.after_renew = lambda: None
        stage.pass_time(timedelta(seconds=1))
        inner.append(renewed(stage, lease))

    stage.minter.after_renew = overtaken
    with pytest.raises(InProgress):
        renewed(stage, lease)
    now = lease_now(stage, lease)
    assert now.expires_at == inner[0].expires_at
    assert (now.renewals, now.state) == (2, LeaseState.ACTIVE)
    assert now.second_tap_at > stage.broker.store.now()


def test_a_renewal_that_the_back_end_refuses_changes_nothing_but_the_record(stage: Stage) -> None:
    """It ends when it would have."""
    lease = got(stage)
    stage.minter.fail_renew.append(MinterRefused())
    with pytest.raises(MinterRefused) as refused:
        renewed(stage, lease)
    assert refused.value.extra["lease_id"] == lease.id
    assert lease_now(stage, lease).expires_at == lease.expires_at


def test_what_the_back_end_renewed_for_too_long_is_ended(stage: Stage) -> None:
    """Longer than was asked for is a defect out there: it does not live on that."""
    lease = got(stage)
    stage.minter.extra_life = MINUTE
    with pytest.raises(MintedTooLong):
        renewed(stage, lease)
    ending = lease_now(stage, lease)
    assert (ending.state, ending.end_reason) == (LeaseState.ENDING, "minted_too_long")
    assert ending.backend_expires_at >= stage.broker.store.now() + 6 * MINUTE


def test_a_renewal_frozen_until_all_was_over_reopens_what_it_prolonged(stage: Stage) -> None:
    """Its answer says that something is there; it is ended again."""
    lease = got(stage)

    def sleeps() -> None:
        revoke_lease(stage.broker, stage.owner, lease.id)
        sweep_until_quiet(stage, 5 * MINUTE)
        assert lease_now(stage, lease).state is LeaseState.ENDED

    stage.minter.after_renew = sleeps
    with pytest.raises(LeaseEnded):
        renewed(stage, lease)
    assert lease_now(stage, lease).state is LeaseState.ENDING
    sweep_until_quiet(stage, 3 * MINUTE)
    assert lease_now(stage, lease).state is LeaseState.ENDED


def test_a_redelivered_lease_has_no_longer_life_than_the_first(stage: Stage) -> None:
    """The grant's whole time began when its first credential was handed out."""
    ask = stage.ask(stage.start(minutes=240), renewable_for=20 * MINUTE)
    first = issued(stage, ask).lease
    stage.pass_time(MINUTE)
    second = issued(stage, ask, redeliver=first.id).lease
    assert second.renewable_until is not None
    assert first.renewable_until is not None
    assert second.renewable_until - first.renewable_until < timedelta(seconds=1)
    stage.pass_time(3 * MINUTE)
    assert renewed(stage, second).renewals == 1


def test_an_ask_for_less_life_than_ttl_makes_no_sense() -> None:
    """The hash of each ask is of what was asked, so the check stands at the door."""
    assert life_of(None, MINUTE) is None
    assert life_of(60, MINUTE) == MINUTE
    for wrong in (59, 0, 10**6, "60", True):
        with pytest.raises(InvalidTtl):
            life_of(wrong, MINUTE)
