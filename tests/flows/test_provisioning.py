"""Stories of agents made equal to reviewed files by a CI job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.flows.provisioning import (
    FILE,
    JOB,
    READ,
    READ_EU,
    READER,
    RULE,
    SECOND,
    applied,
    planned,
    proposed,
    reader,
)
from tests.flows.stories import facts, kinds
from valetkey.core.agent import AgentState
from valetkey.core.errors import ChangedMeanwhile, Killed, NotFound, RoleRequired, WrongDoor
from valetkey.core.kill import Height
from valetkey.core.proposal import ProposalState
from valetkey.core.scope import Scope
from valetkey.flows.agents import (
    NewBinding,
    accept_agent,
    bind_agent,
    disable_agent,
    register_agent,
)
from valetkey.flows.kill import kill
from valetkey.flows.look import agent as looked_at
from valetkey.flows.provision import Wish, plan_agents, provision_agent
from valetkey.testing.brokers import Stage


def test_a_plan_for_what_is_so_is_empty_and_writes_nothing(stage: Stage) -> None:
    """The second run has nothing to do, in whatever order the files say it."""
    wide = replace(FILE, bindings=(READER, SECOND))
    reader(stage, wide)
    before = kinds(stage)
    found = planned(stage, replace(wide, bindings=(SECOND, READER)))
    assert (found.changes, found.wrong, found.proposal) == ((), (), None)
    assert kinds(stage) == before


def test_a_plan_says_what_would_be_made_and_what_else_the_rule_made(stage: Stage) -> None:
    """Agents of other rules are not told of, nor disabled ones."""
    reader(stage)
    gone = register_agent(stage.broker, JOB, RULE, replace(FILE, name="refund-old", bindings=()))
    disable_agent(stage.broker, JOB, gone.id, RULE)
    plan = plan_agents(stage.broker, JOB, RULE, [replace(FILE, name="refund-new", bindings=())])
    assert [(x.what, x.waits) for x in plan.agents[0].changes] == [("create", False)]
    assert plan.agents[0].digest is None
    assert [other.name for other in plan.others] == ["refund-reader"]


def test_everything_that_stands_against_a_file_is_told_at_once(stage: Stage) -> None:
    """Each part by its name; nothing of it is a reason to hide the rest."""
    other = NewBinding("elsewhere", (("sub", "x"),))
    bad = replace(
        FILE,
        name="shop-bot",
        owner="eve@example.com",
        team="shop",
        labels={"tier": "gold"},
        boundary=(Scope("orders-db", "write"), Scope("nowhere", "read")),
        bindings=(other, NewBinding("cluster", (("sub", "*"),))),
    )
    told = [(x.part, x.error.code) for x in planned(stage, bad).wrong]
    assert told == [
        ("name", "outside_trust_rule"),
        ("owner", "outside_trust_rule"),
        ("team", "outside_trust_rule"),
        ("labels", "outside_trust_rule"),
        ("boundary", "outside_trust_rule"),
        ("bindings", "outside_trust_rule"),
        ("boundary", "unknown_scope"),
        ("bindings", "trust_rule_too_wide"),
    ]


def test_an_agent_of_another_rule_is_a_taken_name_and_not_touched(stage: Stage) -> None:
    """The plan says so, and the call finds nothing."""
    agent = reader(stage)
    theirs = replace(RULE, name="other-ci")
    plan = plan_agents(stage.broker, JOB, theirs, [FILE])
    assert next((x.part, x.error.code) for x in plan.agents[0].wrong) == ("name", "name_taken")
    assert (plan.agents[0].digest, plan.others) == (None, ())
    seen = planned(stage, FILE).digest or ""
    with pytest.raises(NotFound):
        provision_agent(stage.broker, JOB, theirs, agent.id, Wish(FILE, seen))
    with pytest.raises(NotFound):
        disable_agent(stage.broker, JOB, agent.id, theirs)


def test_owner_and_end_of_an_agent_are_not_undone_by_a_file(stage: Stage) -> None:
    """Who answers for it stays, and what people disabled stays disabled."""
    agent = reader(stage)
    rule = replace(RULE, allows=replace(RULE.allows, owners=frozenset({"otto@example.com"})))
    plan = plan_agents(stage.broker, JOB, rule, [replace(FILE, owner="otto@example.com")])
    assert [(x.part, x.error.code) for x in plan.agents[0].wrong] == [("owner", "invalid_request")]
    disable_agent(stage.broker, stage.owner, agent.id)
    wrong = planned(stage, FILE).wrong
    assert [(x.part, x.error.code) for x in wrong] == [("name", "agent_disabled")]


def test_without_a_rule_nothing_is_planned_or_provisioned(stage: Stage) -> None:
    """People and agents use other doors."""
    with pytest.raises(WrongDoor):
        plan_agents(stage.broker, stage.owner, None, [FILE])
    with pytest.raises(WrongDoor):
        provision_agent(stage.broker, stage.owner, None, "refund-reader", Wish(FILE, ""))


def test_what_narrows_is_done_at_once_and_on_record(stage: Stage) -> None:
    """Team, labels and a smaller boundary need nobody."""
    reader(stage, replace(FILE, boundary=(READ,)))
    file = replace(FILE, team="returns", labels={"vendor": "acme"})
    changes = planned(stage, file).changes
    assert [(x.what, x.part, x.waits) for x in changes] == [
        ("change", "team", False),
        ("change", "labels", False),
        ("narrow", "boundary", False),
    ]
    assert (changes[2].was, changes[2].becomes) == ("orders-db:read", "orders-db:read{region=eu}")
    done = applied(stage, file)
    assert (done.agent.team, done.agent.boundary, done.proposal) == ("returns", (READ_EU,), None)
    assert str(JOB.principal) in done.agent.touched_by
    assert kinds(stage)[-1] == "AgentChanged"
    assert planned(stage, file).changes == ()


def test_what_widens_waits_and_is_proposed_once(stage: Stage) -> None:
    """The boundary stays, nobody new is it, and the next run proposes nothing new."""
    agent = reader(stage)
    file = replace(FILE, boundary=(READ,), bindings=(READER, SECOND))
    assert [(x.what, x.waits) for x in planned(stage, file).changes] == [
        ("widen", True),
        ("bind", True),
    ]
    done = applied(stage, file)
    assert done.proposal is not None
    assert done.proposal.state is ProposalState.WAITING
    seen = looked_at(stage.broker, stage.owner, agent.id)
    assert (seen.agent.boundary, len(seen.bindings)) == ((READ_EU,), 1)
    before = kinds(stage)
    assert before[-1] == "ChangeProposed"
    assert facts(stage)[-1].fact.body["bindings"] == [
        "cluster sub=system:serviceaccount:refunds:second"
    ]
    again = planned(stage, file)
    assert again.proposal == done.proposal == applied(stage, file).proposal
    assert kinds(stage) == before


def test_one_file_may_narrow_and_widen_and_only_the_first_is_done(stage: Stage) -> None:
    """What the agent keeps is within what it had and within what is wanted."""
    us = Scope.parse("orders-db:read{region=us}")
    reader(stage, replace(FILE, boundary=(READ_EU, us)))
    whole = Scope.parse("orders-db:write{region=eu}")
    rule = replace(RULE, allows=replace(RULE.allows, ceiling=(READ, whole)))
    file = replace(FILE, boundary=(us, whole))
    plan = plan_agents(stage.broker, JOB, rule, [file]).agents[0]
    assert [(x.what, x.becomes) for x in plan.changes] == [
        ("narrow", str(us)),
        ("widen", f"{us} {whole}"),
    ]
    done = provision_agent(stage.broker, JOB, rule, FILE.name, Wish(file, plan.digest or ""))
    assert done.agent.boundary == (us,)
    assert done.proposal is not None
    assert done.proposal.boundary == (us, whole)


def test_a_file_that_wants_no_more_takes_its_proposal_back(stage: Stage) -> None:
    """What was reverted in review cannot be accepted afterwards."""
    reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    assert [(x.what, x.was) for x in planned(stage, FILE).changes] == [("withdraw", waiting.id)]
    assert applied(stage, FILE).proposal is None
    assert kinds(stage)[-1] == "ChangeSuperseded"
    assert planned(stage, FILE).changes == ()


def test_another_wish_takes_the_place_of_the_one_that_waits(stage: Stage) -> None:
    """One proposal is open at a time; the older is on record as overtaken."""
    reader(stage)
    first = proposed(stage, boundary=(READ,))
    second = proposed(stage, bindings=(READER, SECOND))
    with stage.broker.store.transaction() as tx:
        found = {one.id: one.state for one in tx.proposals(None)}
    assert found == {first.id: ProposalState.SUPERSEDED, second.id: ProposalState.WAITING}


def test_an_agent_whose_owner_has_not_accepted_it_follows_its_file(stage: Stage) -> None:
    """The acceptance is still to come, and is for what the owner saw."""
    made = register_agent(stage.broker, JOB, RULE, FILE)
    seen = planned(stage, FILE).digest
    done = applied(stage, replace(FILE, boundary=(READ,), bindings=(READER, SECOND)))
    assert (done.agent.boundary, done.proposal) == ((READ,), None)
    with pytest.raises(ChangedMeanwhile):
        accept_agent(stage.broker, stage.owner, made.id, seen)
    now = looked_at(stage.broker, stage.owner, made.id)
    assert (now.agent.state, len(now.bindings)) == (AgentState.PROPOSED, 2)


def test_identities_are_taken_away_only_when_pruning(stage: Stage) -> None:
    """Told in every plan, done when asked for, and free for others afterwards."""
    agent = reader(stage, replace(FILE, bindings=(READER, SECOND)))
    assert [x.what for x in planned(stage, FILE).changes] == ["unbind"]
    before = kinds(stage)
    applied(stage, FILE)
    assert kinds(stage) == before
    applied(stage, FILE, prune=True)
    assert kinds(stage)[-1] == "AgentUnbound"
    bound = looked_at(stage.broker, stage.owner, agent.id).bindings
    assert [one.claims for one in bound] == [READER.claims]
    other = replace(FILE, name="refund-second", bindings=(SECOND,))
    assert register_agent(stage.broker, JOB, RULE, other).name == "refund-second"


def test_two_jobs_do_not_fight(stage: Stage) -> None:
    """The one that planned on an older state changes nothing."""
    agent = reader(stage)
    old = planned(stage, FILE).digest or ""
    applied(stage, replace(FILE, team="returns"))
    before = kinds(stage)
    with pytest.raises(ChangedMeanwhile):
        provision_agent(stage.broker, JOB, RULE, FILE.name, Wish(FILE, old))
    with pytest.raises(ChangedMeanwhile):
        disable_agent(stage.broker, JOB, agent.id, RULE, old)
    assert kinds(stage) == before


def test_a_job_stops_an_agent_of_its_rule(stage: Stage) -> None:
    """As its owner could; its proposal cannot be accepted any more."""
    agent = reader(stage)
    seen = planned(stage, FILE).digest
    disabled = disable_agent(stage.broker, JOB, agent.id, RULE, seen)
    assert disabled.state is AgentState.DISABLED


def test_a_job_does_not_bind_to_an_accepted_agent_by_another_way(stage: Stage) -> None:
    """The route that binds refuses it too; the owner may."""
    agent = reader(stage)
    with pytest.raises(RoleRequired):
        bind_agent(stage.broker, JOB, RULE, agent.id, SECOND)
    assert bind_agent(stage.broker, stage.owner, None, agent.id, SECOND).agent_id == agent.id


def test_a_file_does_not_slip_an_agent_from_under_a_kill(stage: Stage) -> None:
    """Its vendor stays what it is while a kill reaches it."""
    reader(stage, replace(FILE, labels={"vendor": "acme"}))
    kill(stage.broker, stage.operator, Height.VENDOR, "acme", "an incident")
    with pytest.raises(Killed):
        applied(stage, replace(FILE, labels={"vendor": "other"}))
