"""Stories of acting for people: only as far as they said, only as long, and until they say no."""

from __future__ import annotations

from collections.abc import Mapping
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
from valetkey.core.actors import NOBODY
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
    OutsideToken,
    RedeliveryRefused,
    RoleRequired,
    TaskEnded,
    UnknownScope,
)
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.on_behalf import Offer
from valetkey.core.principal import Acting, Caller, Person, Principal
from valetkey.core.scope import Scope
from valetkey.core.task import Task, TaskState
from valetkey.flows import look
from valetkey.flows.collect import collect
from valetkey.flows.delegate import delegate, take_task
from valetkey.flows.end_task import end_overdue_tasks, end_task, receipt
from valetkey.flows.introspect import introspect
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
from valetkey.minters.signed_token import SignedToken
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


def test_one_login_gives_once(stage: Stage) -> None:
    """What was taken back is not given again by the login that gave it, nor anything twice."""
    scopes, lasts = (Scope.parse(READ),), timedelta(minutes=10)
    fresh = stage.fresh(stage.pat, Offer(stage.agent.id, scopes, lasts).fresh_name)
    given = give_delegation(stage.broker, fresh, "refund-bot", scopes, lasts)
    withdraw_delegation(stage.broker, fresh, given.delegation.id)
    with pytest.raises(FreshLoginRequired):
        give_delegation(stage.broker, fresh, "refund-bot", scopes, lasts)
    assert list(stage.memory.state.delegations) == [given.delegation.id]
    stage.pass_time(timedelta(seconds=1))
    again = replace(fresh, auth_time=stage.memory.now())
    assert give_delegation(stage.broker, again, "refund-bot", scopes, lasts).live


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
    given, second = stage.given(READ), stage.given(READ, READ_EU)
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
        stage.given(READ)
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


def acting(stage: Stage, may_act: bool = False, minutes: int = 5, **changes: object) -> Caller:
    """The bot, with a token that acts for the person of the stage."""
    person = Person.of(stage.pat)
    assert person is not None
    now = stage.broker.store.now()
    until = now + timedelta(minutes=minutes) if may_act else None
    return replace(stage.bot, acting=Acting(person, now, until), **changes)  # type: ignore[arg-type]


def started_by(stage: Stage, caller: Caller, *scopes: str, **more: object) -> Task:
    """A task of that caller for an hour."""
    wanted = tuple(map(Scope.parse, scopes or (READ_EU,)))
    plan = Plan("for pat", wanted, timedelta(hours=1), **more)  # type: ignore[arg-type]
    return start_task(stage.broker, caller, plan)


def test_a_token_for_a_person_begins_tasks_for_that_person(stage: Stage) -> None:
    """On what they gave here that covers it and lasts longest, without naming it."""
    stage.given(READ_EU, minutes=10)
    longest = stage.given(READ_EU, minutes=30)
    stage.given("orders-db:write", minutes=50)
    task = started_by(stage, acting(stage))
    assert (task.delegation_id, task.deadline_at) == (longest.id, longest.until)
    with pytest.raises(OutsideDelegation):
        started_by(stage, acting(stage), READ_EU, "orders-db:write")
    withdraw_delegation(stage.broker, stage.pat, longest.id)
    assert started_by(stage, acting(stage)).delegation_id != longest.id


def test_a_word_in_the_persons_own_token_is_written_down_with_the_first_task(stage: Stage) -> None:
    """For just what the task declares, until that token ends; it can be taken back as any other."""
    task = started_by(stage, acting(stage, may_act=True))
    (seen,) = delegations(stage.broker, stage.pat)
    given = seen.delegation
    assert (given.source, given.scopes) == ("may_act", task.scopes)
    assert task.deadline_at == given.until == stage.broker.store.now() + timedelta(minutes=5)
    assert kinds(stage) == ["TaskStarted", "DelegationGiven"]
    lease = issued(stage, stage.ask(task)).lease
    late = acting(stage, may_act=True)
    stage.pass_time(timedelta(seconds=1))
    withdraw_delegation(stage.broker, stage.pat, given.id)
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    with pytest.raises(DelegationEnded):  # said before it was taken back
        started_by(stage, late)
    stage.pass_time(timedelta(seconds=1))
    assert started_by(stage, acting(stage, may_act=True)).on_behalf_of == PAT


def test_a_denied_task_leaves_no_word_behind(stage: Stage) -> None:
    """What was not begun needs nothing to rest on."""
    stage.rules.policy = Denying()
    with pytest.raises(BrokerError):
        started_by(stage, acting(stage, may_act=True))
    assert delegations(stage.broker, stage.pat) == []


class Denying(TablePolicy):
    """Denies everything."""

    def decide(self, question: Question) -> Decision:
        """No."""
        return replace(super().decide(question), outcome=Outcome.DENY)


def test_a_persons_token_that_is_over_begins_nothing(stage: Stage) -> None:
    """At its very end."""
    late = acting(stage, may_act=True, minutes=5)
    stage.pass_time(timedelta(minutes=5))
    with pytest.raises(DelegationEnded):
        started_by(stage, late)


def test_a_token_for_a_person_is_good_for_nothing_else(stage: Stage) -> None:
    """Neither the agent's own tasks, nor another person's, nor to take or pass on such ones."""
    theirs = stage.given(by=stage.owner)
    tasks = [stage.start(), stage.start(on_behalf_of=theirs.id)]
    stage.given()
    for task in tasks:
        with pytest.raises(OutsideToken):
            request_credential(stage.broker, acting(stage), stage.ask(task))
        with pytest.raises(OutsideToken):
            passed_on(stage, task, stage.bot, by=acting(stage))
    with pytest.raises(OutsideToken):
        started_by(stage, acting(stage), on_behalf_of=theirs.id)
    other = helper_bot(stage)
    plan = Plan("part", (Scope.parse(READ_EU),), timedelta(minutes=5))
    child = delegate(stage.broker, stage.bot, tasks[0].id, plan, other.agent)
    with pytest.raises(OutsideToken):
        take_task(stage.broker, replace(other, acting=acting(stage).acting), child.id)
    mine = started_by(stage, acting(stage))
    assert request_credential(stage.broker, acting(stage), stage.ask(mine))


def test_a_killed_person_begins_nothing_by_their_token_either(stage: Stage) -> None:
    """Whatever their issuer still signs."""
    stage.given()
    kill(stage.broker, stage.operator, Height.PERSON, "pat@example.com", "odd")
    with pytest.raises(Killed):
        started_by(stage, acting(stage, may_act=True))


def test_what_is_minted_says_who_acts_and_for_whom(stage: Stage) -> None:
    """The minter hears of the whole chain, from the root down, and of the person."""
    root = stage.start(READ, on_behalf_of=stage.given(READ).id)
    other = helper_bot(stage)
    child = passed_on(stage, root, other)
    for caller, task, chain in (
        (stage.bot, root, ("refund-bot",)),
        (other, child, ("refund-bot", "helper-bot")),
    ):
        request_credential(stage.broker, caller, stage.ask(task))
        agents = stage.memory.state.agents
        actors = stage.minter.wanted[-1].actors
        assert (tuple(agents[x].name for x in actors.agents), actors.person) == (chain, PAT)


def test_a_token_that_is_a_credential_says_who_acts(stage: Stage) -> None:
    """`sub` is the person and `act` the agents; introspection repeats just that."""
    signed: list[Mapping[str, object]] = []
    minter = SignedToken(
        lambda claims: signed.append(claims) or "token", "us", "abcdefe1", stage.broker.store.now
    )
    task = stage.start(on_behalf_of=stage.given().id)
    lease = issued(stage, stage.ask(task)).lease
    wanted, deadline = stage.minter.wanted[-1], stage.clock.deadline(timedelta(seconds=9))
    minter.mint(lease.handle, wanted, timedelta(minutes=1), deadline)
    assert (signed[0]["sub"], signed[0]["act"]) == (PAT, {"sub": stage.agent.id})
    told = introspect(stage.broker, signed[0])
    assert (told["sub"], told["act"], told["active"]) == (PAT, {"sub": stage.agent.id}, True)
    minter.mint(lease.handle, replace(wanted, actors=NOBODY), timedelta(minutes=1), deadline)
    assert signed[1]["sub"] == lease.handle.name
    assert "act" not in signed[1]
