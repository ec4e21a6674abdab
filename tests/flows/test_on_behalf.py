"""Stories of acting for people: only as far as they said, only as long, and until they say no."""

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
    sweep_until_quiet,
    waiting,
)
from tests.flows.test_delegation import helper_bot, passed_on
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.errors import (
    ApproverNotEligible,
    BrokerError,
    DelegationEnded,
    FreshLoginRequired,
    InvalidRequest,
    InvalidTtl,
    Killed,
    LeaseEnded,
    NotFound,
    OutsideBoundary,
    OutsideDelegation,
    RedeliveryRefused,
    RoleRequired,
    TaskEnded,
    UnknownScope,
)
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.on_behalf import Offer
from valetkey.core.principal import Principal
from valetkey.core.scope import Scope
from valetkey.core.task import TaskState
from valetkey.flows import look
from valetkey.flows.collect import collect
from valetkey.flows.end_task import end_overdue_tasks, end_task, receipt
from valetkey.flows.kill import kill
from valetkey.flows.on_behalf import (
    delegation,
    delegations,
    give_delegation,
    leases_for,
    tasks_for,
    withdraw_delegation,
)
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.testing.brokers import Stage, TablePolicy

READ, READ_EU = "orders-db:read", "orders-db:read{region=eu}"
PAT = "https://people pat@example.com"


class Asked(TablePolicy):
    """The table, which remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[Question] = []

    def decide(self, question: Question) -> Decision:
        """Look it up."""
        self.questions.append(question)
        return super().decide(question)


def test_a_person_lets_an_agent_act_within_scopes_and_a_time(stage: Stage) -> None:
    """The task says for whom it is, ends with the delegation, and policy sees the person."""
    stage.rules.policy = asked = Asked()
    given = stage.given(READ, minutes=20)
    task = stage.start(READ_EU, minutes=60, on_behalf_of=given.id)
    assert (task.on_behalf_of, task.delegation_id) == (PAT, given.id)
    assert task.deadline_at == given.until
    lease = issued(stage, stage.ask(task)).lease
    people = [question.person for question in asked.questions]
    assert [person and (person.email, person.groups) for person in people] == [
        ("pat@example.com", ("refunds-team",))
    ] * 2
    assert kinds(stage)[:2] == ["DelegationGiven", "TaskStarted"]
    (fact,) = facts(stage, kind="DelegationGiven")
    assert (fact.fact.by, fact.fact.owner) == (PAT, "pat@example.com")
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


def test_without_a_delegation_policy_sees_nobody(stage: Stage) -> None:
    """Whatever people there are, an agent's own task is its own."""
    stage.rules.policy = asked = Asked()
    stage.given()
    issued(stage, stage.ask(stage.start()))
    assert [question.person for question in asked.questions] == [None, None]


@pytest.mark.parametrize("changed", ["agent", "scope", "time", "object", "old"])
def test_giving_needs_a_login_fresh_for_exactly_that(stage: Stage, changed: str) -> None:
    """The refusal says what the login must be for; one for something else does not do."""
    other = helper_bot(stage)
    scopes, lasts = (Scope.parse(READ),), timedelta(minutes=10)
    meant = Offer(stage.agent.id, scopes, lasts)
    names = {
        "agent": replace(meant, agent_id=other.agent_id or ""),
        "scope": replace(meant, scopes=(Scope.parse("orders-db:write"),)),
        "time": replace(meant, lasts=timedelta(minutes=11)),
    }
    fresh = stage.fresh(stage.pat, names.get(changed, meant).fresh_name)
    if changed == "object":
        fresh = stage.fresh(stage.pat, "approve:grant_1:abc")
    if changed == "old":
        stage.pass_time(timedelta(minutes=5, seconds=1))
    with pytest.raises(FreshLoginRequired) as refused:
        give_delegation(stage.broker, fresh, "refund-bot", scopes, lasts)
    assert refused.value.extra["fresh_for"] == meant.fresh_name
    assert refused.value.extra["agent_id"] == stage.agent.id
    assert list(stage.memory.state.delegations) == []


def test_only_people_with_a_verified_address_give(stage: Stage) -> None:
    """Nor does a login that does not say when it was made."""
    for person in (replace(stage.pat, email=None), replace(stage.pat, auth_time=None)):
        with pytest.raises(RoleRequired):
            stage_give(stage, person)


def stage_give(stage: Stage, person: object, *scopes: str, minutes: int = 10) -> None:
    """Give straight away, without help of the stage."""
    wanted = tuple(map(Scope.parse, scopes or (READ,)))
    lasts = timedelta(minutes=minutes)
    give_delegation(stage.broker, person, "refund-bot", wanted, lasts)  # type: ignore[arg-type]


def test_what_makes_no_sense_is_not_given(stage: Stage) -> None:
    """Unknown scopes and agents, no scopes at all, and more time than may be given."""
    for error, scopes, minutes in (
        (UnknownScope, ("orders-db:eat",), 10),
        (InvalidTtl, (READ,), 12 * 60 + 1),
    ):
        with pytest.raises(error):
            stage_give(stage, stage.pat, *scopes, minutes=minutes)
    with pytest.raises(InvalidRequest):
        give_delegation(stage.broker, stage.pat, "refund-bot", (), timedelta(minutes=1))
    with pytest.raises(NotFound):
        give_delegation(
            stage.broker, stage.pat, "nobody", (Scope.parse(READ),), timedelta(minutes=1)
        )


def test_a_task_goes_no_further_than_the_person_said(stage: Stage) -> None:
    """Nor than the agent's own boundary, whatever the person said."""
    given = stage.given(READ_EU)
    for wider in (READ, "orders-db:read{region=us}", "orders-db:write"):
        with pytest.raises(OutsideDelegation):
            stage.start(wider, on_behalf_of=given.id)
    other = helper_bot(stage)
    wide = stage.given("orders-db:write", agent="helper-bot")
    plan = Plan("x", (Scope.parse("orders-db:write"),), timedelta(minutes=1), on_behalf_of=wide.id)
    with pytest.raises(OutsideBoundary):
        start_task(stage.broker, other, plan)


def test_another_agents_delegation_does_not_exist(stage: Stage) -> None:
    """Neither to act by, nor to look at."""
    other = helper_bot(stage)
    theirs = stage.given(READ, agent="helper-bot")
    with pytest.raises(NotFound):
        stage.start(READ, on_behalf_of=theirs.id)
    with pytest.raises(NotFound):
        stage.start(READ, on_behalf_of="delegation_9")
    with pytest.raises(NotFound):
        delegation(stage.broker, stage.bot, theirs.id)
    assert delegations(stage.broker, stage.bot) == []
    assert [x.delegation.id for x in delegations(stage.broker, other)] == [theirs.id]


def test_withdrawing_ends_all_that_rests_on_it_however_deep(stage: Stage) -> None:
    """Tasks of other agents below it too; what rests on nothing or on another goes on."""
    given, second = stage.given(READ), stage.given(READ)
    root = stage.start(READ, on_behalf_of=given.id)
    other = helper_bot(stage)
    child = passed_on(stage, root, other)
    assert child.on_behalf_of == PAT
    grandchild = passed_on(stage, child, other, by=other)
    below = request_credential(stage.broker, other, stage.ask(grandchild)).lease  # type: ignore[union-attr]
    own = issued(stage, stage.ask(root)).lease
    beside = stage.start(READ, on_behalf_of=second.id)
    kept = [issued(stage, stage.ask(task)).lease for task in (beside, stage.start(READ))]
    seen = withdraw_delegation(stage.broker, stage.pat, given.id)
    assert (seen.live, seen.delegation.withdrawn_by) == (False, PAT)
    assert [lease_now(stage, x).proof for x in (own, below)] == [Proof.VERIFIED] * 2
    assert [lease_now(stage, x).state for x in kept] == [LeaseState.ACTIVE] * 2
    ended = {x.fact.task_id: x.fact.outcome for x in facts(stage, kind="TaskEnded")}
    assert ended == {
        root.id: "delegation_withdrawn",
        child.id: "parent_ended",
        grandchild.id: "parent_ended",
    }
    assert {x.id for x in receipt(stage.broker, stage.pat, root.id).leases} == {own.id, below.id}
    with pytest.raises(DelegationEnded):
        stage.start(READ, on_behalf_of=given.id)
    for caller, task in ((stage.bot, root), (other, grandchild)):
        with pytest.raises(DelegationEnded):
            request_credential(stage.broker, caller, stage.ask(task))


def test_withdrawing_twice_is_as_good_as_once(stage: Stage) -> None:
    """The first word stands, and there is one fact."""
    given = stage.given()
    withdraw_delegation(stage.broker, stage.pat, given.id)
    stage.pass_time(timedelta(minutes=1))
    again = withdraw_delegation(stage.broker, stage.operator, given.id)
    assert again.delegation.withdrawn_by == PAT
    assert kinds(stage).count("DelegationWithdrawn") == 1


def test_the_person_and_operators_take_back_and_nobody_else(stage: Stage) -> None:
    """A stranger finds nothing, an auditor may only look, the agent itself has no such door."""
    given = stage.given()
    auditor = stage.person("ada@example.com", roles={"auditor"})
    with pytest.raises(NotFound):
        withdraw_delegation(stage.broker, stage.owner, given.id)
    with pytest.raises(RoleRequired):
        withdraw_delegation(stage.broker, auditor, given.id)
    assert delegation(stage.broker, auditor, given.id).live
    elsewhere = replace(
        stage.person("Pat@Example.com"), principal=Principal("https://other", "17")
    )
    assert delegations(stage.broker, elsewhere)[0].delegation.id == given.id
    withdraw_delegation(stage.broker, stage.operator, given.id)
    assert not delegation(stage.broker, stage.pat, given.id).live


def test_what_is_minted_while_the_person_takes_it_back_is_not_handed_out(stage: Stage) -> None:
    """The second commit looks again."""
    given = stage.given()
    task = stage.start(READ, on_behalf_of=given.id)

    def take_back() -> None:
        stage.minter.after_mint = lambda: None
        withdraw_delegation(stage.broker, stage.pat, given.id)

    stage.minter.after_mint = take_back
    with pytest.raises((TaskEnded, LeaseEnded, DelegationEnded)):
        issued(stage, stage.ask(task))
    sweep_until_quiet(stage, timedelta(minutes=3))
    (lease,) = leases_for(stage.broker, stage.pat, "me", None)
    assert lease.state is LeaseState.ENDED


def test_a_delegation_that_is_over_gives_nothing_and_its_tasks_end(stage: Stage) -> None:
    """At its very end, with everything below, by the same clock as any deadline."""
    given = stage.given(READ, minutes=10)
    task = stage.start(READ, minutes=60, on_behalf_of=given.id)
    child = passed_on(stage, task, helper_bot(stage))
    lease = issued(stage, stage.ask(task)).lease
    stage.pass_time(timedelta(minutes=10))
    with pytest.raises(DelegationEnded):
        issued(stage, stage.ask(task))
    with pytest.raises(DelegationEnded):
        stage.start(READ, on_behalf_of=given.id)
    assert end_overdue_tasks(stage.broker) + end_overdue_tasks(stage.broker) == 2
    for one in (task, child):
        assert look.task(stage.broker, stage.pat, one.id).state is TaskState.ENDED
    assert lease_now(stage, lease).state is not LeaseState.ACTIVE


def test_who_a_task_is_for_sees_it_ends_it_and_finds_what_was_done(stage: Stage) -> None:
    """Tasks, trees, leases and lineage; a stranger sees none of it."""
    task = stage.start(on_behalf_of=stage.given().id)
    lease = issued(stage, stage.ask(task)).lease
    issued(stage, stage.ask(stage.start()))
    pat, stranger = stage.pat, stage.person("sam@example.com")
    assert [x.id for x in tasks_for(stage.broker, pat, "me")] == [task.id]
    assert [x.id for x in leases_for(stage.broker, pat, "me", None)] == [lease.id]
    assert leases_for(stage.broker, pat, "me", "ended") == []
    assert [x.id for x in tasks_for(stage.broker, stage.operator, "Pat@example.com")] == [task.id]
    assert look.tree(stage.broker, pat, task.id).leases == (lease_now(stage, lease),)
    assert look.lease(stage.broker, pat, lease.id).id == lease.id
    assert look.lineage(stage.broker, pat, lease.id).lease.id == lease.id
    assert tasks_for(stage.broker, stranger, "me") == []
    for nosy in (stranger, stage.bot):
        with pytest.raises(RoleRequired):
            tasks_for(stage.broker, nosy, "pat@example.com")
    with pytest.raises(RoleRequired):
        leases_for(stage.broker, stage.bot, "me", None)
    with pytest.raises(NotFound):
        look.lease(stage.broker, stranger, lease.id)
    assert end_task(stage.broker, pat, task.id).complete


def test_people_are_shown_for_whom_an_ask_is(stage: Stage) -> None:
    """Bound by the hash: the person, their groups of then, and the delegation it rests on."""
    given = stage.given()
    shown = waiting(stage, stage.start(on_behalf_of=given.id)).shown
    assert shown is not None
    assert shown["on_behalf_of"] == {
        "principal": PAT,
        "email": "pat@example.com",
        "groups": ["refunds-team"],
        "delegation": given.id,
        "source": "login",
    }
    assert (waiting(stage, stage.start()).shown or {})["on_behalf_of"] is None


def test_who_an_ask_is_for_does_not_approve_it(stage: Stage) -> None:
    """However the address is written, and below the task that acts for them too."""
    person = stage.person("arun@example.com", groups={"approvers"})
    given = stage.given(by=replace(person, email="Arun@Example.com"))
    root = stage.start(on_behalf_of=given.id)
    grants = [waiting(stage, root)]
    helper = helper_bot(stage)
    child = passed_on(stage, root, stage.bot, "orders-db:write")
    assert helper
    grants.append(waiting(stage, child))
    for grant in grants:
        with pytest.raises(ApproverNotEligible):
            approved(stage, grant)
    other = stage.person("aoki@example.com", groups={"approvers"})
    assert approved(stage, grants[0], other).state == "approved"


def test_a_yes_is_not_collected_once_the_person_took_it_back(stage: Stage) -> None:
    """What waited is withdrawn with its task."""
    given = stage.given()
    grant = approved(stage, waiting(stage, stage.start(on_behalf_of=given.id)))
    withdraw_delegation(stage.broker, stage.pat, given.id)
    with pytest.raises(BrokerError) as refused:
        collect(stage.broker, stage.bot, grant.id)
    assert isinstance(refused.value, DelegationEnded | TaskEnded)
    assert grant_now(stage, grant.id).state == "withdrawn"


def test_a_lost_answer_is_not_given_again_once_it_was_taken_back(stage: Stage) -> None:
    """Redelivery looks at the delegation too."""
    given = stage.given()
    ask = stage.ask(stage.start(on_behalf_of=given.id))
    lease = issued(stage, ask).lease
    withdraw_delegation(stage.broker, stage.pat, given.id)
    with pytest.raises((DelegationEnded, RedeliveryRefused)):
        issued(stage, ask, redeliver=lease.id)


def test_a_killed_person_gives_nothing_and_has_nothing_done(stage: Stage) -> None:
    """Neither a new delegation nor a task on one that stands; others are left alone."""
    given, other = stage.given(), stage.given(by=stage.owner)
    task = stage.start(on_behalf_of=given.id)
    child = passed_on(stage, task, helper_bot(stage))
    lease = issued(stage, stage.ask(task)).lease
    kill(stage.broker, stage.operator, Height.PERSON, PAT, "left the company")
    assert lease_now(stage, lease).state is LeaseState.ENDING
    with pytest.raises(Killed):
        stage.given()
    with pytest.raises(Killed):
        stage.start(on_behalf_of=given.id)
    with pytest.raises(Killed):
        issued(stage, stage.ask(task))
    with pytest.raises(Killed):
        passed_on(stage, task, stage.bot)
    assert child.id
    assert issued(stage, stage.ask(stage.start(on_behalf_of=other.id))).lease


def test_a_child_task_may_ask_only_as_long_as_the_root_may(stage: Stage) -> None:
    """Even if nobody ended it: what it rests on is looked at above, in the same look."""
    given = stage.given(READ)
    root = stage.start(READ, on_behalf_of=given.id)
    other = helper_bot(stage)
    child = passed_on(stage, root, other)
    state = stage.memory.state
    state.delegations[given.id] = given.withdrawn("somebody", given.given_at)
    assert state.tasks[child.id].state is TaskState.OPEN
    with pytest.raises(DelegationEnded):
        request_credential(stage.broker, other, stage.ask(child))


def test_write_needs_what_it_needed_on_anybodys_behalf(stage: Stage) -> None:
    """A person's word replaces no approval."""
    stage.policy.outcomes["write"] = Outcome.DENY
    task = stage.start(on_behalf_of=stage.given().id)
    with pytest.raises(BrokerError, match="Policy does not allow"):
        issued(stage, stage.ask(task, WRITE))
