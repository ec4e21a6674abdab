"""Stories of asking: what is handed out, what is refused, and what a failed mint leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.faults.rows import row
from tests.flows.stories import (
    MOMENT,
    facts,
    failing_ask,
    issued,
    kinds,
    lease_now,
    leases,
    sweep_until_quiet,
)
from valetkey.core.agent import AgentState
from valetkey.core.errors import (
    AgentNotAccepted,
    BrokerError,
    DeniedByPolicy,
    InvalidParameter,
    MintedTooLong,
    MinterRefused,
    MinterUnavailable,
    NotAsked,
    NotFound,
    OutcomeUnknown,
    OutsideBoundary,
    OutsideTask,
    PolicyBroken,
    TaskEnded,
    UnknownScope,
)
from valetkey.core.facts import HistoryQuery
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.flows import look
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.recording import record_refusal
from valetkey.flows.request_credential import request_credential
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage


def test_an_allowed_ask_hands_out_one_working_credential(stage: Stage) -> None:
    """The lease is active, the object exists under its handle, and each step is on record."""
    answer = issued(stage, stage.ask(stage.start()))
    assert answer.lease.state is LeaseState.ACTIVE
    assert list(stage.minter.alive) == [answer.lease.handle.name]
    assert answer.secret.reveal()["value"] == stage.minter.secrets_made[0]
    assert kinds(stage)[-3:] == ["AskAllowed", "LeaseWritten", "LeaseMinted"]


def test_the_lease_is_written_before_the_minter_is_called(stage: Stage) -> None:
    """While the minter works, the store already holds the row with its handle, minting."""
    seen: list[tuple[LeaseState, str]] = []
    stage.minter.before_mint = lambda: seen.extend(
        (lease.state, lease.handle.name) for lease in leases(stage)
    )
    answer = issued(stage, stage.ask(stage.start()))
    assert seen == [(LeaseState.MINTING, answer.lease.handle.name)]


def test_a_denial_is_recorded_and_survives_its_error(stage: Stage) -> None:
    """The caller gets the error; history keeps the denial with its decision."""
    task = stage.start("orders-db:drop")
    with pytest.raises(DeniedByPolicy) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task, "orders-db:drop{region=eu}"))
    denial = facts(stage)[-1]
    assert denial.fact.kind == "AskDenied"
    assert denial.fact.decision_id == refused.value.decision_id
    assert stage.minter.alive == {}


def test_a_broken_policy_denies_and_says_so(stage: Stage) -> None:
    """What goes wrong inside policy is a deny with a code of its own."""
    task = stage.start()
    stage.policy.problem = "the policy raised"
    with pytest.raises(PolicyBroken):
        request_credential(stage.broker, stage.bot, stage.ask(task))
    assert facts(stage)[-1].fact.outcome == "policy_broken"


def test_a_recorded_decision_can_be_read_whole(stage: Stage) -> None:
    """The decision behind a fact is kept with its input."""
    issued(stage, stage.ask(stage.start()))
    decision_id = facts(stage, kind="AskAllowed")[0].fact.decision_id
    with stage.broker.store.transaction() as tx:
        decision = tx.decision(decision_id or "")
    assert decision is not None
    assert decision["recorded_input"] == {"ttl": 300}


@pytest.mark.parametrize(
    ("scope", "refusal"),
    [
        ("orders-db:erase{region=eu}", UnknownScope),
        ("nowhere:read{region=eu}", UnknownScope),
        ("orders-db:read{region=mars}", InvalidParameter),
        ("orders-db:read", InvalidParameter),
        ("orders-db:read{region=eu,table=all}", InvalidParameter),
        ("orders-db:write{region=eu}", OutsideTask),
    ],
)
def test_an_ask_that_cannot_be_decided_is_refused_and_writes_no_grant(
    stage: Stage, scope: str, refusal: type[BrokerError]
) -> None:
    """Each malformed or undeclared scope has its own code, and nothing is minted."""
    task = stage.start("orders-db:read")
    with pytest.raises(refusal) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task, scope))
    assert not refused.value.recorded
    assert leases(stage) == []
    assert stage.minter.alive == {}


def test_a_refusal_before_any_decision_is_recorded_exactly_once(stage: Stage) -> None:
    """The door records what no flow has recorded, and does not record it twice."""
    task = stage.start()
    with pytest.raises(UnknownScope) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task, "nowhere:read{region=eu}"))
    record_refusal(stage.broker, stage.bot, refused.value, "POST /v1/credentials")
    record_refusal(stage.broker, stage.bot, refused.value, "POST /v1/credentials")
    assert kinds(stage).count("RequestRefused") == 1
    assert facts(stage)[-1].fact.outcome == "unknown_scope"


def test_the_boundary_of_an_agent_holds_even_when_its_task_is_wider(stage: Stage) -> None:
    """A boundary narrowed after the task began is still the outer bound."""
    task = stage.start()
    narrowed = replace(stage.agent, boundary=(Scope("orders-db", "write"),))
    with stage.broker.store.transaction() as tx:
        tx.save_agent(narrowed)
    with pytest.raises(OutsideBoundary):
        request_credential(stage.broker, stage.bot, stage.ask(task))


def test_another_key_of_the_same_agent_does_not_see_the_task(stage: Stage) -> None:
    """A task belongs to the key that started it."""
    ask = stage.ask(stage.start())
    with pytest.raises(NotFound):
        request_credential(stage.broker, replace(stage.bot, jkt="another-key"), ask)


def test_an_agent_that_is_not_accepted_may_not_ask(stage: Stage) -> None:
    """The owner accepts once before the agent may ask."""
    task = stage.start()
    with stage.broker.store.transaction() as tx:
        tx.save_agent(replace(stage.agent, state=AgentState.PROPOSED))
    with pytest.raises(AgentNotAccepted):
        request_credential(stage.broker, stage.bot, stage.ask(task))


@pytest.mark.parametrize("problem", [MinterUnavailable, MinterRefused, OutcomeUnknown])
def test_a_dead_minter_leaves_an_ending_row_and_one_fact(
    stage: Stage, problem: type[BrokerError]
) -> None:
    """Whatever the minter says, the credential may exist: the lease is on its way out."""
    stage.minter.fail_mint.append(problem())
    task = stage.start()
    with pytest.raises(problem) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task))
    lease = leases(stage)[0]
    assert (lease.state, lease.end_reason) == (LeaseState.ENDING, "mint_failed")
    assert refused.value.recorded
    assert refused.value.extra["lease_id"] == lease.id
    recorded = facts(stage, kind="MintFailed")
    assert [x.fact.body["state"] for x in recorded] == ["ending"]


def test_what_was_never_minted_ends_as_never_existed_after_the_second_tap(stage: Stage) -> None:
    """One tap is not enough: an issuer might still be minting."""
    stage.minter.fail_mint.append(MinterUnavailable())
    lease = failing_ask(stage, stage.start())
    sweep(stage.broker)
    assert lease_now(stage, lease).state is LeaseState.ENDING
    sweep_until_quiet(stage, timedelta(minutes=3))
    ended = lease_now(stage, lease)
    assert (ended.state, ended.proof) == (LeaseState.ENDED, Proof.NEVER_EXISTED)


def test_what_was_not_even_asked_for_is_over_at_once(stage: Stage) -> None:
    """No quiet time for what nobody sent; and the same key may ask again."""
    ask = stage.ask(stage.start())
    stage.minter.fail_mint.append(NotAsked("the target cannot be looked at", retry_after=30))
    with pytest.raises(MinterUnavailable) as refused:
        request_credential(stage.broker, stage.bot, ask)
    assert (refused.value.code, refused.value.retry_after) == ("minter_unavailable", 30)
    (lease,) = leases(stage)
    assert (lease.state, lease.proof) == (LeaseState.ENDED, Proof.NEVER_EXISTED)
    assert lease.end_reason == "mint_failed"
    assert kinds(stage, lease_id=lease.id) == ["LeaseWritten", "MintFailed", "LeaseEnded"]
    assert doctor(stage.broker) == []
    assert issued(stage, ask).lease.id != lease.id


def test_what_was_not_asked_for_and_is_killed_meanwhile_is_left_to_the_sweep(
    stage: Stage,
) -> None:
    """Who moves a lease first has its end; it comes with a proof all the same."""
    task = stage.start()

    def end_it() -> None:
        end_task(stage.broker, stage.bot, task.id)

    stage.minter.before_mint = end_it
    stage.minter.fail_mint.append(NotAsked())
    with pytest.raises(MinterUnavailable):
        request_credential(stage.broker, stage.bot, stage.ask(task))
    sweep_until_quiet(stage, timedelta(minutes=3))
    (lease,) = leases(stage)
    assert (lease.end_reason, lease.proof) == ("task_ended", Proof.NEVER_EXISTED)


def test_minted_and_then_failed_is_found_and_ended_by_two_taps(stage: Stage) -> None:
    """The back end did it and answered with an error: the object is ended and verified gone."""
    stage.minter.fail_after_mint.append(OutcomeUnknown())
    lease = failing_ask(stage, stage.start())
    assert list(stage.minter.alive) == [lease.handle.name]
    sweep(stage.broker)
    assert stage.minter.alive == {}
    assert lease_now(stage, lease).state is LeaseState.ENDING
    sweep_until_quiet(stage, timedelta(minutes=3))
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    assert kinds(stage, lease_id=lease.id)[-2:] == ["LeaseTapped", "LeaseEnded"]


def test_an_issuer_that_dies_while_minting_is_made_good(stage: Stage) -> None:
    """A row left minting comes due at its mint limit and is put to its end."""

    class Died(BaseException):
        """The process is gone."""

    def die() -> None:
        raise Died

    stage.minter.after_mint = die
    with pytest.raises(Died):
        request_credential(stage.broker, stage.bot, stage.ask(stage.start()))
    lease = leases(stage)[0]
    assert lease.state is LeaseState.MINTING
    sweep_until_quiet(stage, timedelta(minutes=3))
    ended = lease_now(stage, lease)
    assert (ended.end_reason, ended.proof) == ("mint_abandoned", Proof.VERIFIED)
    assert stage.minter.alive == {}


@row("F43")
def test_a_back_end_that_returns_longer_is_ended_and_not_delivered(stage: Stage) -> None:
    """A longer life than granted is a violation: the credential is withheld."""
    stage.minter.extra_life = timedelta(seconds=1)
    with pytest.raises(MintedTooLong):
        request_credential(stage.broker, stage.bot, stage.ask(stage.start()))
    lease = leases(stage)[0]
    assert lease.state is LeaseState.ENDING
    assert lease.backend_expires_at == stage.broker.store.now() + timedelta(seconds=301)
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


@pytest.mark.parametrize(
    ("asked", "minutes", "policy", "answer"),
    [
        (300, 60, None, (300, "asked")),
        (3600, 60, None, (900, "scope")),
        (300, 2, None, (120, "task")),
        (300, 60, 60, (60, "policy")),
        (3600, 2, 600, (120, "task")),
    ],
)
def test_the_answer_says_which_rule_cut_the_time(
    stage: Stage, asked: int, minutes: int, policy: int | None, answer: tuple[int, str]
) -> None:
    """The lowest of asked, scope, task and policy is granted, and named."""
    task = stage.start(minutes=minutes)
    stage.policy.max_ttl = timedelta(seconds=policy) if policy else None
    lease = issued(stage, stage.ask(task, ttl=timedelta(seconds=asked))).lease
    assert lease.requested_ttl == timedelta(seconds=asked)
    assert (lease.granted_ttl.total_seconds(), lease.cut_by) == answer


def test_we_act_no_later_than_granted_and_expect_no_earlier_than_reality(stage: Stage) -> None:
    """A slow mint moves neither bound to the wrong side."""
    stage.minter.after_mint = lambda: stage.pass_time(timedelta(seconds=7))
    began = stage.broker.store.now()
    lease = issued(stage, stage.ask(stage.start())).lease
    finished = began + timedelta(seconds=7)
    assert lease.expires_at <= finished + lease.granted_ttl
    assert lease.backend_expires_at >= finished + lease.granted_ttl


def test_an_ask_in_the_last_second_of_a_task_is_refused(stage: Stage) -> None:
    """There is no whole second left to grant."""
    task = stage.start(minutes=1)
    stage.pass_time(timedelta(seconds=59.5))
    with pytest.raises(TaskEnded):
        request_credential(stage.broker, stage.bot, stage.ask(task))


def test_an_expired_lease_is_ended_by_the_clock(stage: Stage) -> None:
    """Expiry takes the one way out, with a verified end."""
    lease = issued(stage, stage.ask(stage.start())).lease
    stage.pass_time(timedelta(minutes=5) - MOMENT)
    assert sweep(stage.broker) == 0
    stage.pass_time(MOMENT)
    assert sweep(stage.broker) == 1
    ended = lease_now(stage, lease)
    assert (ended.end_reason, ended.proof) == ("expired", Proof.VERIFIED)
    assert stage.minter.alive == {}


def test_no_secret_is_in_any_row_fact_or_repr(stage: Stage) -> None:
    """The value that was handed out is found nowhere else; planted on purpose, it is found."""
    answer = issued(stage, stage.ask(stage.start()))
    canary = stage.minter.secrets_made[0]

    def everything() -> str:
        return repr([leases(stage), facts(stage), answer, vars(stage.memory)])

    assert canary not in everything()
    with stage.broker.store.transaction() as tx:
        tx.save_lease(replace(answer.lease, last_error=canary, fence=answer.lease.fence + 1))
    assert canary in everything()


def test_a_minter_that_breaks_leaves_no_lease_behind(stage: Stage) -> None:
    """What it raises is no error of ours, so it may exist: it is ended, and a human is told."""

    def break_down() -> None:
        raise KeyError("password")

    stage.minter.after_mint = break_down
    lease = failing_ask(stage, stage.start())
    assert (lease.state, lease.end_reason) == (LeaseState.ENDING, "mint_failed")
    assert facts(stage)[-1].fact.outcome == OutcomeUnknown.code
    assert [about["problem"] for _, about in stage.alarms.alarms] == ["KeyError"]
    sweep(stage.broker)
    assert stage.minter.alive == {}


def test_a_slow_mint_does_not_carry_a_lease_past_its_task(stage: Stage) -> None:
    """The TTL counts from when it is handed out, but never beyond the task's deadline."""
    task = stage.start(minutes=5)
    stage.minter.after_mint = lambda: stage.pass_time(timedelta(seconds=20))
    lease = issued(stage, stage.ask(task)).lease
    assert lease.expires_at == task.deadline_at
    assert lease.backend_expires_at > task.deadline_at, "what is real stays written down"


def test_an_owner_finds_the_refusals_of_the_own_agents(stage: Stage) -> None:
    """By its task too; the refusals of other owners' agents are not theirs to see."""
    task = stage.start()
    with pytest.raises(OutsideTask) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task, "orders-db:drop{region=eu}"))
    record_refusal(stage.broker, stage.bot, refused.value, "POST /v1/credentials")
    query = HistoryQuery(task_id=task.id, kind="RequestRefused")
    (seen,) = look.history(stage.broker, stage.owner, query)
    assert (seen.fact.outcome, seen.fact.owner) == ("outside_task", stage.agent.owner)
    assert look.history(stage.broker, stage.person("otto@example.com"), query) == []


def test_a_refusal_before_any_decision_is_found_under_its_task(stage: Stage) -> None:
    """Who searches the history of a task sees what was refused there, whatever the reason."""
    task = stage.start("orders-db:read")
    with pytest.raises(OutsideTask) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task, "orders-db:write{region=eu}"))
    record_refusal(stage.broker, stage.bot, refused.value, "POST /v1/credentials")
    with stage.broker.store.transaction() as tx:
        newest = tx.history(HistoryQuery(task_id=task.id, limit=1))[0].fact
    assert newest.outcome == "outside_task"
