"""Stories of people who decide on what a job would widen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.provisioning import (
    FILE,
    READ,
    READ_EU,
    READER,
    RULE,
    RULES,
    SECOND,
    applied,
    planned,
    proposed,
    reader,
    said_yes,
)
from tests.flows.stories import kinds
from valetkey.core.errors import (
    AlreadyDecided,
    ApprovalVoid,
    BindingTaken,
    FreshLoginRequired,
    NotFound,
    OutsideTrustRule,
    RoleRequired,
)
from valetkey.core.proposal import ProposalState
from valetkey.core.trust import TrustRule
from valetkey.flows.agents import accept_agent, change_agent, register_agent
from valetkey.flows.look import agent as looked_at
from valetkey.flows.proposals import (
    accept_proposal,
    fresh_name,
    proposal,
    proposals,
    refuse_proposal,
)
from valetkey.testing.brokers import Stage

WIDER = replace(FILE, boundary=(READ,), bindings=(READER, SECOND))


def test_what_a_person_accepts_is_so_and_the_next_run_has_nothing_to_do(stage: Stage) -> None:
    """The whole boundary and every identity, once, by a named person."""
    agent = reader(stage)
    waiting = proposed(stage, boundary=WIDER.boundary, bindings=WIDER.bindings)
    accepted = said_yes(stage, waiting)
    assert accepted.proposal.state is ProposalState.ACCEPTED
    assert accepted.proposal.decided_by == str(stage.owner.principal)
    now = looked_at(stage.broker, stage.owner, agent.id)
    assert (now.agent.boundary, len(now.bindings)) == ((READ,), 2)
    assert stage.owner.email in now.agent.touched_by
    assert kinds(stage)[-3:] == ["AgentChanged", "AgentBound", "ChangeAccepted"]
    after = planned(stage, WIDER)
    assert (after.changes, after.proposal) == ((), None)


def test_an_operator_may_accept_in_the_owners_place(stage: Stage) -> None:
    """Somebody must be able to while the owner is away."""
    reader(stage)
    accepted = said_yes(stage, proposed(stage, boundary=(READ,)), stage.operator)
    assert accepted.agent.boundary == (READ,)


def test_a_stranger_learns_nothing_of_a_proposal(stage: Stage) -> None:
    """Neither in the list nor by its id; an auditor sees it and decides nothing."""
    reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    eve = stage.person("eve@example.com")
    auditor = replace(eve, roles=frozenset({"auditor"}))
    assert proposals(stage.broker, eve) == []
    with pytest.raises(NotFound):
        proposal(stage.broker, eve, waiting.id)
    with pytest.raises(NotFound):
        said_yes(stage, waiting, eve)
    with pytest.raises(NotFound):
        refuse_proposal(stage.broker, eve, waiting.id)
    assert proposal(stage.broker, auditor, waiting.id).proposal == waiting
    with pytest.raises(RoleRequired):
        said_yes(stage, waiting, auditor)
    assert [x.proposal.id for x in proposals(stage.broker, stage.owner)] == [waiting.id]


def test_a_yes_needs_a_login_made_for_just_this(stage: Stage) -> None:
    """Neither a cached session, nor one for another proposal, nor one too old."""
    reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    stale = stage.fresh(stage.owner, fresh_name(waiting))
    stage.pass_time(timedelta(minutes=6))
    elsewhere = stage.fresh(stage.owner, fresh_name(replace(waiting, id="proposal_x")))
    for person in (stage.owner, elsewhere, stale):
        with pytest.raises(FreshLoginRequired) as no:
            accept_proposal(stage.broker, person, RULES, waiting.id, waiting.shown_hash)
        assert no.value.extra == {"fresh_for": fresh_name(waiting)}


def test_a_yes_is_void_when_the_agent_has_changed_since(stage: Stage) -> None:
    """It is shown as no longer current, and the next run proposes anew."""
    agent = reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    change_agent(stage.broker, stage.owner, None, agent.id, {"team": "returns"})
    assert not proposal(stage.broker, stage.owner, waiting.id).current
    with pytest.raises(ApprovalVoid):
        said_yes(stage, waiting)
    anew = applied(stage, replace(FILE, team="returns", boundary=(READ,))).proposal
    assert anew is not None
    assert anew.id != waiting.id
    with pytest.raises(AlreadyDecided):
        said_yes(stage, waiting)
    assert said_yes(stage, anew).agent.boundary == (READ,)


def test_a_yes_to_something_else_than_was_shown_is_void(stage: Stage) -> None:
    """The hash names the proposal with everything in it."""
    reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    fresh = stage.fresh(stage.owner, fresh_name(waiting))
    with pytest.raises(ApprovalVoid):
        accept_proposal(stage.broker, fresh, RULES, waiting.id, "0" * 64)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {RULE.name: replace(RULE, allows=replace(RULE.allows, ceiling=(READ_EU,)))},
        {RULE.name: replace(RULE, allows=replace(RULE.allows, may_bind=frozenset()))},
    ],
)
def test_a_yes_does_not_go_beyond_the_rule_of_today(
    stage: Stage, rules: Mapping[str, TrustRule]
) -> None:
    """A rule that is gone or narrower since stands against it."""
    reader(stage)
    waiting = proposed(stage, boundary=(READ,), bindings=(READER, SECOND))
    fresh = stage.fresh(stage.owner, fresh_name(waiting))
    with pytest.raises(OutsideTrustRule):
        accept_proposal(stage.broker, fresh, rules, waiting.id, waiting.shown_hash)


def test_an_identity_that_became_anothers_meanwhile_is_not_bound(stage: Stage) -> None:
    """And nothing else of the proposal happens."""
    agent = reader(stage)
    waiting = proposed(stage, boundary=(READ,), bindings=(READER, SECOND))
    register_agent(
        stage.broker,
        replace(stage.bot, kind="ci", rule=RULE.name),
        RULE,
        replace(FILE, name="refund-thief", bindings=(SECOND,)),
    )
    with pytest.raises(BindingTaken):
        said_yes(stage, waiting)
    assert looked_at(stage.broker, stage.owner, agent.id).agent.boundary == (READ_EU,)


def test_a_refusal_stands_until_the_file_changes_or_the_person_thinks_better(
    stage: Stage,
) -> None:
    """The same is not proposed again by each run, and may still be accepted."""
    reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    refused = refuse_proposal(stage.broker, stage.owner, waiting.id)
    assert refused.proposal.state is ProposalState.REFUSED
    before = kinds(stage)
    assert before[-1] == "ChangeRefused"
    assert refuse_proposal(stage.broker, stage.owner, waiting.id).proposal.id == waiting.id
    again = applied(stage, replace(FILE, boundary=(READ,))).proposal
    assert again is not None
    assert (again.id, again.state) == (waiting.id, ProposalState.REFUSED)
    assert kinds(stage) == before
    assert said_yes(stage, waiting).agent.boundary == (READ,)
    with pytest.raises(AlreadyDecided):
        refuse_proposal(stage.broker, stage.owner, waiting.id)


def test_an_owner_who_accepts_an_agent_changes_no_proposal(stage: Stage) -> None:
    """Acceptance is no part of what a file says."""
    agent = reader(stage)
    waiting = proposed(stage, boundary=(READ,))
    accept_agent(stage.broker, stage.owner, agent.id)
    assert proposal(stage.broker, stage.owner, waiting.id).current
