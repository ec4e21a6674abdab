"""Agents, owners and approvers use a chain of tasks to have what each alone may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.flows.chains import READ_EU, joined, passed_on
from tests.flows.stories import WRITE, approved, lease_now
from valetkey.core.errors import ApproverNotEligible, OutsideBoundary, RoleRequired
from valetkey.core.grant import Grant
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.flows.agents import change_agent
from valetkey.flows.collect import collect
from valetkey.flows.kill import kill
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.flows.write_off import fresh_for, write_off
from valetkey.testing.brokers import Stage


def other_agent(stage: Stage) -> Caller:
    """Another agent of another owner, with the same boundary."""
    agent = replace(
        stage.agent,
        id=stage.new_id("agent"),
        name="helper-bot",
        owner="otto@example.com",
        labels={"vendor": "other"},
        created_by="https://ci helpers",
    )
    return joined(stage, agent)


def waiting_below(stage: Stage) -> tuple[Caller, Grant]:
    """A write that waits for a person, asked for under a task that was passed on."""
    helper = other_agent(stage)
    child = passed_on(stage, stage.start(), helper, WRITE)
    answer = request_credential(stage.broker, helper, stage.ask(child, WRITE))
    assert isinstance(answer, Waiting)
    return helper, answer.grant


def test_the_owner_of_an_agent_above_does_not_approve_what_is_asked_below(stage: Stage) -> None:
    """Who may not say yes to one's own agent may not either when it lets another one ask."""
    _, grant = waiting_below(stage)
    owner = stage.person("olivia@example.com", groups={"approvers"})
    with pytest.raises(ApproverNotEligible):
        approved(stage, grant, owner)
    assert approved(stage, grant).state == "approved"


def test_whoever_changed_an_agent_above_does_not_approve_what_is_asked_below(stage: Stage) -> None:
    """The same for who touched or bound it."""
    with stage.broker.store.transaction() as tx:
        tx.save_agent(replace(stage.agent, touched_by=("Toni@example.com",)))
    _, grant = waiting_below(stage)
    with pytest.raises(ApproverNotEligible):
        approved(stage, grant, stage.person("toni@example.com", groups={"approvers"}))


def test_people_see_for_whom_a_child_task_works(stage: Stage) -> None:
    """A yes is to the whole chain: agents, owners and tasks above are part of what was shown."""
    helper, grant = waiting_below(stage)
    shown = grant.shown or {}
    assert [(x["agent"], x["owner"]) for x in shown["above"]] == [("refund-bot", "olivia@example.com")]
    approved(stage, grant)
    assert isinstance(collect(stage.broker, helper, grant.id), Issued)


def test_a_boundary_that_was_narrowed_above_holds_below(stage: Stage) -> None:
    """An agent that may not write any more does not write through one that it asked before."""
    helper = other_agent(stage)
    child = passed_on(stage, stage.start(), helper, READ_EU)
    change_agent(
        stage.broker, stage.owner, None, stage.agent.id, {"boundary": (Scope("orders-db", "drop"),)}
    )
    with pytest.raises(OutsideBoundary):
        request_credential(stage.broker, helper, stage.ask(child))
    assert stage.minter.alive == {}


def test_a_kill_of_an_issuer_reaches_tasks_that_were_taken_with_its_proof(stage: Stage) -> None:
    """The key that took it was bound by that issuer's word, whoever opened the task."""
    helper = other_agent(stage)
    child = passed_on(stage, stage.start(), helper, READ_EU)
    given = request_credential(stage.broker, helper, stage.ask(child))
    assert isinstance(given, Issued)
    kill(stage.broker, stage.operator, Height.ISSUER, "mesh", "its keys were stolen")
    assert lease_now(stage, given.lease).state is not LeaseState.ACTIVE


def test_the_owner_of_an_agent_above_does_not_write_off_what_was_given_below(stage: Stage) -> None:
    """An operator's own work is not only what the own agent holds, but what it passed on."""
    helper = other_agent(stage)
    child = passed_on(stage, stage.start(), helper, READ_EU)
    given = request_credential(stage.broker, helper, stage.ask(child))
    assert isinstance(given, Issued)
    with stage.broker.store.transaction() as tx:
        tx.save_lease(replace(lease_now(stage, given.lease), state=LeaseState.STUCK))
    owner = stage.person("Olivia@example.com", roles={"operator"})
    with pytest.raises(RoleRequired):
        write_off(stage.broker, stage.fresh(owner, fresh_for(given.lease)), given.lease.id, "gone")
    assert lease_now(stage, given.lease).state is LeaseState.STUCK
