"""Stories of people deciding: who may, on what, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import approved, facts, grant_now, kinds, leases, waiting
from valetkey.core.agent import Binding
from valetkey.core.catalogue import Catalogue
from valetkey.core.decision import Outcome
from valetkey.core.errors import (
    AlreadyDecided,
    ApprovalTimedOut,
    ApprovalVoid,
    ApproverNotEligible,
    BrokerError,
    DeniedByPerson,
    FreshLoginRequired,
    InProgress,
    Killed,
    NotFound,
    RoleRequired,
    StillWaiting,
    TaskEnded,
)
from valetkey.core.grant import Grant, GrantState
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState
from valetkey.core.principal import Caller
from valetkey.flows.approve import approve, deny, fresh_name, time_out_grants, withdraw
from valetkey.flows.collect import collect
from valetkey.flows.end_task import end_task
from valetkey.flows.kill import kill
from valetkey.flows.verdicts import Issued
from valetkey.testing.brokers import Stage


def says_yes(stage: Stage, person: Caller, grant: Grant) -> Grant:
    """This person approves with a login made for this grant."""
    return approve(
        stage.broker, stage.fresh(person, fresh_name(grant)), grant.id, grant.shown_hash or ""
    )


def test_what_needs_approval_waits_and_nothing_is_minted(stage: Stage) -> None:
    """There is a grant, what people see, and its hash; there is no lease."""
    grant = waiting(stage, stage.start())
    assert grant.state is GrantState.WAITING
    assert grant.shown is not None
    assert grant.shown["scope"] == "orders-db:write{region=eu}"
    assert grant.shown["requester_key"] == stage.bot.jkt
    assert leases(stage) == []
    assert stage.minter.alive == {}


def test_an_approved_grant_is_collected_into_a_credential(stage: Stage) -> None:
    """After a yes the same key collects, and history names the approver."""
    grant = approved(stage, waiting(stage, stage.start()))
    assert grant.state is GrantState.APPROVED
    assert leases(stage) == []
    answer = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(answer, Issued)
    assert answer.lease.state is LeaseState.ACTIVE
    assert answer.lease.grant_id == grant.id
    yes = facts(stage, kind="GrantApproved")[0].fact
    assert yes.body["approver"] == "arun@example.com"
    assert yes.body["shown_hash"] == grant.shown_hash


def test_collecting_before_anyone_decided_says_to_wait(stage: Stage) -> None:
    """The grant still waits; nothing is minted."""
    grant = waiting(stage, stage.start())
    with pytest.raises(StillWaiting) as refused:
        collect(stage.broker, stage.bot, grant.id)
    assert refused.value.retry_after


def test_a_grant_is_collected_once(stage: Stage) -> None:
    """The second collecting mints nothing."""
    grant = approved(stage, waiting(stage, stage.start()))
    collect(stage.broker, stage.bot, grant.id)
    with pytest.raises(InProgress):
        collect(stage.broker, stage.bot, grant.id)
    assert len(leases(stage)) == 1


def test_only_the_key_that_asked_collects(stage: Stage) -> None:
    """For any other key or agent the grant does not exist."""
    grant = approved(stage, waiting(stage, stage.start()))
    for thief in (replace(stage.bot, jkt="stolen"), replace(stage.bot, agent_id="agent_other")):
        with pytest.raises(NotFound):
            collect(stage.broker, thief, grant.id)
    assert stage.minter.alive == {}


@pytest.mark.parametrize("who", ["owner", "creator", "binder", "changer"])
def test_whoever_touched_the_agent_cannot_approve_for_it(stage: Stage, who: str) -> None:
    """Owner, creator, binder and changer are refused, whatever groups they are in."""
    person = stage.person(f"{who}@example.com", groups={"approvers"})
    agent = {
        "owner": replace(stage.agent, owner="owner@example.com"),
        "creator": replace(stage.agent, created_by=str(person.principal)),
        "binder": stage.agent,
        "changer": replace(stage.agent, touched_by=("changer@example.com",)),
    }[who]
    with stage.broker.store.transaction() as tx:
        tx.save_agent(agent)
        if who == "binder":
            now = stage.broker.store.now()
            tx.add_binding(Binding("binding_1", agent.id, "i", (), str(person.principal), now))
    grant = waiting(stage, stage.start())
    with pytest.raises(ApproverNotEligible):
        says_yes(stage, person, grant)
    with pytest.raises(ApproverNotEligible):
        deny(stage.broker, person, grant.id)
    assert grant_now(stage, grant.id).state is GrantState.WAITING


def test_the_owner_of_the_task_cannot_approve_after_the_agent_changed_hands(stage: Stage) -> None:
    """The task keeps the owner it was started under."""
    stage.owner = stage.person("olivia@example.com", groups={"approvers"})
    grant = waiting(stage, stage.start())
    with stage.broker.store.transaction() as tx:
        tx.save_agent(replace(stage.agent, owner="new@example.com"))
    with pytest.raises(ApproverNotEligible):
        says_yes(stage, stage.owner, grant)


def test_the_requester_cannot_approve(stage: Stage) -> None:
    """An agent has no login and no group, whatever its token says."""
    grant = waiting(stage, stage.start())
    sly = replace(stage.bot, groups=frozenset({"approvers"}))
    with pytest.raises(RoleRequired):
        says_yes(stage, replace(sly, auth_time=None), grant)


def test_only_the_groups_that_a_grant_waits_for_decide(stage: Stage) -> None:
    """An operator is not an approver of this grant."""
    grant = waiting(stage, stage.start())
    with pytest.raises(RoleRequired):
        says_yes(stage, stage.operator, grant)


def test_a_login_not_made_for_this_grant_is_refused(stage: Stage) -> None:
    """A cached session may look, but not say yes; the error says what to log in for."""
    grant = waiting(stage, stage.start())
    other = stage.fresh(stage.approver, "approve:another:hash")
    for cached in (stage.approver, other):
        with pytest.raises(FreshLoginRequired) as refused:
            approve(stage.broker, cached, grant.id, grant.shown_hash or "")
        assert refused.value.extra == {"fresh_for": fresh_name(grant)}


def test_a_stale_login_is_refused(stage: Stage) -> None:
    """Five minutes are fresh; a moment more is not."""
    grant = waiting(stage, stage.start())
    stale = stage.fresh(stage.approver, fresh_name(grant))
    stage.pass_time(timedelta(minutes=5, seconds=1))
    with pytest.raises(FreshLoginRequired):
        approve(stage.broker, stale, grant.id, grant.shown_hash or "")


def test_a_hash_of_something_else_is_refused(stage: Stage) -> None:
    """What the person saw is not what waits."""
    grant = waiting(stage, stage.start())
    fresh = stage.fresh(stage.approver, fresh_name(grant))
    with pytest.raises(ApprovalVoid):
        approve(stage.broker, fresh, grant.id, "0" * 64)
    assert grant_now(stage, grant.id).state is GrantState.WAITING


def test_an_approval_is_void_when_policy_changed(stage: Stage) -> None:
    """Collecting decides again: what is denied now is not minted, and that is on record."""
    grant = approved(stage, waiting(stage, stage.start()))
    stage.policy.outcomes["write"] = Outcome.DENY
    with pytest.raises(ApprovalVoid):
        collect(stage.broker, stage.bot, grant.id)
    assert kinds(stage)[-1] == "GrantVoided"
    stage.policy.outcomes["write"] = Outcome.ALLOW
    with pytest.raises(ApprovalVoid):
        collect(stage.broker, stage.bot, grant.id)
    assert stage.minter.alive == {}


def test_an_approval_is_void_when_the_catalogue_changed(stage: Stage) -> None:
    """The digest is part of what people saw."""
    grant = approved(stage, waiting(stage, stage.start()))
    stage.rules.catalogue = Catalogue(stage.rules.catalogue.targets, "another digest")
    with pytest.raises(ApprovalVoid):
        collect(stage.broker, stage.bot, grant.id)


def test_an_approval_is_void_from_another_binding(stage: Stage) -> None:
    """The workload identity that asked is part of what people saw."""
    grant = approved(stage, waiting(stage, stage.start()))
    with pytest.raises(ApprovalVoid):
        collect(stage.broker, replace(stage.bot, binding_id="binding_2"), grant.id)


def test_a_tighter_policy_shortens_what_is_collected(stage: Stage) -> None:
    """Narrower than approved is fine, and the answer says what cut it."""
    grant = approved(stage, waiting(stage, stage.start()))
    stage.policy.max_ttl = timedelta(seconds=60)
    answer = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(answer, Issued)
    assert (answer.lease.granted_ttl, answer.lease.cut_by) == (timedelta(seconds=60), "policy")


def test_a_looser_policy_does_not_lengthen_what_was_approved(stage: Stage) -> None:
    """The approved time is a ceiling, and keeps the rule that cut it."""
    task = stage.start()
    stage.policy.max_ttl = timedelta(seconds=60)
    grant = approved(stage, waiting(stage, task))
    stage.policy.max_ttl = None
    answer = collect(stage.broker, stage.bot, grant.id)
    assert isinstance(answer, Issued)
    assert (answer.lease.granted_ttl, answer.lease.cut_by) == (timedelta(seconds=60), "policy")
    assert answer.lease.requested_ttl == timedelta(minutes=5)


def test_a_no_is_final(stage: Stage) -> None:
    """A cached session may say no; then nobody approves or collects any more."""
    grant = waiting(stage, stage.start())
    assert deny(stage.broker, stage.approver, grant.id).state is GrantState.DENIED
    other = stage.person("anna@example.com", groups={"approvers"})
    with pytest.raises(AlreadyDecided):
        says_yes(stage, other, grant)
    with pytest.raises(DeniedByPerson):
        collect(stage.broker, stage.bot, grant.id)


def test_a_second_person_cannot_decide_what_is_decided(stage: Stage) -> None:
    """One yes was enough; a late no does not undo it silently."""
    grant = approved(stage, waiting(stage, stage.start()))
    other = stage.person("anna@example.com", groups={"approvers"})
    with pytest.raises(AlreadyDecided):
        deny(stage.broker, other, grant.id)


def test_two_needed_yeses_come_from_two_people(stage: Stage) -> None:
    """The same person twice is one."""
    grant = waiting(stage, stage.start())
    with stage.broker.store.transaction() as tx:
        tx.save_grant(replace(grant, needs=(("approvers", 2),)))
    assert says_yes(stage, stage.approver, grant).state is GrantState.WAITING
    assert says_yes(stage, stage.approver, grant).state is GrantState.WAITING
    assert kinds(stage).count("GrantApproved") == 1
    other = stage.person("anna@example.com", groups={"approvers"})
    assert says_yes(stage, other, grant).state is GrantState.APPROVED


def test_an_owner_written_in_capitals_is_still_the_owner(stage: Stage) -> None:
    """One mailbox is one person, however the login spells it."""
    grant = waiting(stage, stage.start())
    with pytest.raises(ApproverNotEligible):
        says_yes(stage, stage.person("Olivia@Example.com", groups={"approvers"}), grant)


def test_a_void_approval_names_the_decision_that_voided_it(stage: Stage) -> None:
    """Not the older one, under which it waited: that one said something else."""
    grant = approved(stage, waiting(stage, stage.start()))
    stage.policy.outcomes["write"] = Outcome.DENY
    with pytest.raises(ApprovalVoid) as void:
        collect(stage.broker, stage.bot, grant.id)
    with stage.broker.store.transaction() as tx:
        decision = tx.decision(void.value.decision_id or "")
    assert decision is not None
    assert decision["outcome"] == "deny"


def test_a_grant_that_nobody_decided_times_out(stage: Stage) -> None:
    """After the wait it can be neither approved nor collected, and the clock records it."""
    grant = waiting(stage, stage.start())
    stage.pass_time(timedelta(minutes=15))
    for act in (
        lambda: says_yes(stage, stage.approver, grant),
        lambda: collect(stage.broker, stage.bot, grant.id),
    ):
        with pytest.raises(ApprovalTimedOut):
            act()
    assert time_out_grants(stage.broker) == 1
    assert time_out_grants(stage.broker) == 0
    assert grant_now(stage, grant.id).state is GrantState.TIMED_OUT
    assert kinds(stage)[-1] == "GrantTimedOut"


def test_an_approval_that_nobody_collects_times_out_too(stage: Stage) -> None:
    """A yes does not wait for ever."""
    grant = approved(stage, waiting(stage, stage.start()))
    stage.pass_time(timedelta(minutes=15))
    with pytest.raises(ApprovalTimedOut):
        collect(stage.broker, stage.bot, grant.id)
    assert time_out_grants(stage.broker) == 1


def test_an_agent_withdraws_its_own_ask(stage: Stage) -> None:
    """Nobody else can, and what is withdrawn is not approved any more."""
    grant = waiting(stage, stage.start())
    with pytest.raises(NotFound):
        withdraw(stage.broker, replace(stage.bot, jkt="stolen"), grant.id)
    assert withdraw(stage.broker, stage.bot, grant.id).state is GrantState.WITHDRAWN
    with pytest.raises(AlreadyDecided):
        says_yes(stage, stage.approver, grant)


def test_ending_a_task_withdraws_what_waits_for_it(stage: Stage) -> None:
    """Waiting and approved grants die with their task."""
    task = stage.start()
    first, second = waiting(stage, task), approved(stage, waiting(stage, task))
    end_task(stage.broker, stage.bot, task.id)
    for grant in (first, second):
        assert grant_now(stage, grant.id).state is GrantState.WITHDRAWN
        with pytest.raises(TaskEnded):
            collect(stage.broker, stage.bot, grant.id)
    assert kinds(stage).count("GrantWithdrawn") == 2


@pytest.mark.parametrize("height", [Height.TASK, Height.AGENT, Height.TARGET, Height.EVERYTHING])
def test_a_kill_stops_collecting(stage: Stage, height: Height) -> None:
    """An approval does not outrank a kill."""
    task = stage.start()
    grant = approved(stage, waiting(stage, task))
    subject = {"task": task.id, "agent": stage.agent.id, "target": "orders-db"}.get(height, "")
    kill(stage.broker, stage.operator, height, subject, "odd")
    refusal: type[BrokerError] = TaskEnded if height is Height.TASK else Killed
    with pytest.raises(refusal):
        collect(stage.broker, stage.bot, grant.id)
    assert stage.minter.alive == {}


def test_a_late_yes_still_leaves_time_to_collect(stage: Stage) -> None:
    """From the yes on, the asker has the whole waiting time again, within its task."""
    grant = waiting(stage, stage.start())
    stage.pass_time(stage.broker.limits.approval_wait - timedelta(seconds=2))
    decided = says_yes(stage, stage.approver, grant)
    stage.pass_time(timedelta(minutes=2))
    assert isinstance(collect(stage.broker, stage.bot, decided.id), Issued)
