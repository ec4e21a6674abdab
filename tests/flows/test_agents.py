"""Stories of an agent's life: set up by CI within its rule, accepted by its owner, disabled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import facts, issued, kinds, lease_now
from valetkey.core.agent import Agent, AgentState
from valetkey.core.errors import (
    AgentDisabled,
    AgentNotAccepted,
    BindingTaken,
    InvalidParameter,
    InvalidRequest,
    NameTaken,
    NotFound,
    OutsideTrustRule,
    RoleRequired,
    UnknownScope,
    WrongDoor,
)
from valetkey.core.lease import LeaseState
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.core.trust import Allowance, TrustRule
from valetkey.flows.agents import (
    NewAgent,
    NewBinding,
    accept_agent,
    bind_agent,
    change_agent,
    disable_agent,
    register_agent,
    unbind_agent,
)
from valetkey.flows.start_task import Plan, start_task
from valetkey.testing.brokers import EPOCH, Stage

READ_EU = Scope.parse("orders-db:read{region=eu}")
RULE = TrustRule(
    name="refunds-ci",
    issuer="https://ci",
    match={"repository_id": "1", "repository_owner_id": "2", "environment": "production"},
    allows=Allowance(
        name_prefix="refund-",
        owners=frozenset({"olivia@example.com"}),
        teams=frozenset({"refunds"}),
        labels={"environment": frozenset({"production"})},
        ceiling=(Scope.parse("orders-db:read"),),
        may_bind=frozenset({"cluster"}),
    ),
)
CI = Caller(
    kind="ci",
    principal=Principal("https://ci", "repo:refunds"),
    jkt="ci-key",
    expires_at=EPOCH + timedelta(days=1),
    token_id="t",
    rule="refunds-ci",
)
NEW = NewAgent(
    name="refund-reader",
    owner="olivia@example.com",
    team="refunds",
    labels={"environment": "production"},
    boundary=(READ_EU,),
    bindings=(NewBinding("cluster", (("sub", "system:serviceaccount:refunds:reader"),)),),
)


def registered(stage: Stage) -> Agent:
    """An agent set up by CI."""
    return register_agent(stage.broker, CI, RULE, NEW)


def now(stage: Stage, agent: Agent) -> Agent:
    """An agent as it is now."""
    with stage.broker.store.transaction() as tx:
        found = tx.agent(agent.id)
    assert found is not None
    return found


def test_an_agent_set_up_within_its_rule_is_proposed_and_recorded(stage: Stage) -> None:
    """Who made it, by which rule, and what it is bound to."""
    agent = registered(stage)
    assert now(stage, agent) == agent
    assert (agent.state, agent.created_by, agent.created_by_rule) == (
        AgentState.PROPOSED,
        "https://ci repo:refunds",
        "refunds-ci",
    )
    assert agent.environment == "production"
    assert kinds(stage) == ["AgentRegistered", "AgentBound"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other-bot"},
        {"owner": "mallory@example.com"},
        {"team": "platform"},
        {"labels": {"environment": "staging"}},
        {"labels": {"tier": "gold"}},
        {"boundary": (Scope.parse("orders-db:write{region=eu}"),)},
        {"bindings": (NewBinding("elsewhere", (("sub", "x"),)),)},
    ],
)
def test_nothing_outside_the_trust_rule_can_be_set_up(
    stage: Stage, change: Mapping[str, object]
) -> None:
    """Each part is bounded on its own, and nothing is written."""
    with pytest.raises(OutsideTrustRule):
        register_agent(stage.broker, CI, RULE, replace(NEW, **change))  # type: ignore[arg-type]
    assert kinds(stage) == []


def test_a_caller_without_a_rule_sets_up_nothing(stage: Stage) -> None:
    """People and agents use other doors."""
    with pytest.raises(WrongDoor):
        register_agent(stage.broker, stage.owner, None, NEW)


@pytest.mark.parametrize(
    ("scope", "refusal"),
    [("nowhere:read", UnknownScope), ("orders-db:read{region=mars}", InvalidParameter)],
)
def test_a_boundary_names_scopes_of_the_catalogue(
    stage: Stage, scope: str, refusal: type[Exception]
) -> None:
    """A boundary of unknown scopes would bound nothing that one could read."""
    wide = replace(RULE, allows=replace(RULE.allows, ceiling=(Scope.parse(scope),)))
    with pytest.raises(refusal):
        register_agent(stage.broker, CI, wide, replace(NEW, boundary=(Scope.parse(scope),)))


def test_a_name_is_taken_once(stage: Stage) -> None:
    """The second is refused and leaves no binding behind."""
    registered(stage)
    before = kinds(stage)
    with pytest.raises(NameTaken):
        registered(stage)
    assert kinds(stage) == before


def test_an_identity_is_bound_once_and_a_refusal_undoes_the_agent(stage: Stage) -> None:
    """Two agents cannot be the same workload; the second is not set up at all."""
    registered(stage)
    with pytest.raises(BindingTaken):
        register_agent(stage.broker, CI, RULE, replace(NEW, name="refund-writer"))
    with stage.broker.store.transaction() as tx:
        assert tx.agent_named("refund-writer") is None


def test_only_the_owner_accepts_and_only_then_may_the_agent_ask(stage: Stage) -> None:
    """Acceptance is once; a second one changes nothing."""
    agent = registered(stage)
    reader = replace(stage.bot, agent_id=agent.id)
    plan = Plan("x", (READ_EU,), timedelta(minutes=5))
    with pytest.raises(AgentNotAccepted):
        start_task(stage.broker, reader, plan)
    for stranger in (stage.operator, stage.approver, CI, reader):
        with pytest.raises(NotFound):
            accept_agent(stage.broker, stranger, agent.id)
    accepted = accept_agent(stage.broker, stage.owner, agent.id)
    assert accept_agent(stage.broker, stage.owner, agent.name) == accepted
    assert kinds(stage).count("AgentAccepted") == 1
    assert start_task(stage.broker, reader, plan).agent_id == agent.id


def test_a_disabled_agent_is_not_accepted_again(stage: Stage) -> None:
    """Accepting does not enable."""
    agent = registered(stage)
    disable_agent(stage.broker, stage.owner, agent.id)
    assert accept_agent(stage.broker, stage.owner, agent.id).state is AgentState.DISABLED


def test_only_the_rule_that_made_it_or_its_owner_binds_and_changes(stage: Stage) -> None:
    """Another rule does not find the agent, whatever it allows."""
    agent = registered(stage)
    other = replace(RULE, name="other-ci")
    binding = NewBinding("cluster", (("sub", "another"),))
    with pytest.raises(NotFound):
        bind_agent(stage.broker, CI, other, agent.id, binding)
    with pytest.raises(NotFound):
        change_agent(stage.broker, CI, other, agent.id, {"team": "refunds"})
    with pytest.raises(NotFound):
        change_agent(stage.broker, stage.approver, None, agent.id, {"team": "refunds"})
    assert bind_agent(stage.broker, CI, RULE, agent.id, binding).agent_id == agent.id


def test_a_rule_binds_only_identities_of_its_issuers(stage: Stage) -> None:
    """A CI job cannot bind an identity that it controls itself."""
    agent = registered(stage)
    with pytest.raises(OutsideTrustRule):
        bind_agent(stage.broker, CI, RULE, agent.id, NewBinding("ci", (("sub", "me"),)))


def test_whoever_binds_or_changes_an_agent_is_remembered(stage: Stage) -> None:
    """They cannot approve for it."""
    agent = registered(stage)
    bind_agent(stage.broker, stage.owner, None, agent.id, NewBinding("cluster", (("sub", "o"),)))
    change_agent(stage.broker, CI, RULE, agent.id, {"labels": {}})
    touched = now(stage, agent).touched_by
    assert {"olivia@example.com", str(CI.principal)} <= set(touched)


def test_an_identity_that_is_taken_away_proves_nothing_and_is_free_again(stage: Stage) -> None:
    """With its fact; who did it cannot approve, and what was started with it goes on."""
    agent = registered(stage)
    kept = bind_agent(stage.broker, CI, RULE, agent.id, NewBinding("cluster", (("sub", "k"),)))
    new = NewBinding("cluster", (("sub", "x"),))
    gone = bind_agent(stage.broker, CI, RULE, agent.id, new)
    left = unbind_agent(stage.broker, stage.owner, None, agent.name, gone.id)
    assert stage.owner.email in left.touched_by
    with stage.broker.store.transaction() as tx:
        assert gone.id not in {one.id for one in tx.bindings(agent.id)}
        assert kept.id in {one.id for one in tx.bindings(agent.id)}
    (fact,) = facts(stage, kind="AgentUnbound")
    assert fact.fact.body == {"binding": gone.id, "issuer": "cluster", "claims": {"sub": "x"}}
    with pytest.raises(NotFound):
        unbind_agent(stage.broker, stage.owner, None, agent.name, gone.id)
    assert bind_agent(stage.broker, CI, RULE, agent.id, new).id != gone.id


def test_only_its_owner_its_rule_and_operators_take_an_identity_away(stage: Stage) -> None:
    """And only from the agent that has it; others find nothing."""
    agent, own = registered(stage), stage.agent
    binding = bind_agent(stage.broker, CI, RULE, agent.id, NewBinding("cluster", (("sub", "k"),)))
    for caller, rule in (
        (stage.approver, None),
        (stage.bot, None),
        (CI, replace(RULE, name="other-ci")),
    ):
        with pytest.raises(NotFound):
            unbind_agent(stage.broker, caller, rule, agent.id, binding.id)
    with pytest.raises(NotFound):
        unbind_agent(stage.broker, stage.owner, None, own.id, binding.id)
    assert unbind_agent(stage.broker, stage.operator, None, agent.id, binding.id).id == agent.id


def test_a_boundary_is_only_narrowed(stage: Stage) -> None:
    """Widening needs another way, with a fresh login."""
    agent = registered(stage)
    wide = (Scope.parse("orders-db:read"),)
    with pytest.raises(RoleRequired):
        change_agent(stage.broker, stage.owner, None, agent.id, {"boundary": wide})
    narrowed = change_agent(stage.broker, stage.owner, None, agent.id, {"boundary": ()})
    assert narrowed.boundary == ()


def test_a_rule_changes_an_agent_only_within_itself(stage: Stage) -> None:
    """The same bounds as at its making."""
    agent = registered(stage)
    with pytest.raises(OutsideTrustRule):
        change_agent(stage.broker, CI, RULE, agent.id, {"team": "platform"})
    assert now(stage, agent).team == "refunds"


@pytest.mark.parametrize(
    "field", [{"owner": "mallory@example.com"}, {"state": AgentState.ACCEPTED}, {"created_by": ""}]
)
def test_no_other_field_of_an_agent_can_be_changed(
    stage: Stage, field: Mapping[str, object]
) -> None:
    """Neither owner nor state nor maker move by a change."""
    agent = registered(stage)
    with pytest.raises(InvalidRequest):
        change_agent(stage.broker, stage.owner, None, agent.id, field)
    assert now(stage, agent) == agent


def test_disabling_an_agent_stops_it_and_ends_what_it_holds(stage: Stage) -> None:
    """Its owner or an operator may; it may not ask any more."""
    task = stage.start()
    lease = issued(stage, stage.ask(task)).lease
    with pytest.raises(NotFound):
        disable_agent(stage.broker, stage.approver, stage.agent.id)
    disable_agent(stage.broker, stage.operator, stage.agent.id)
    assert lease_now(stage, lease).state is LeaseState.ENDING
    with pytest.raises(AgentDisabled):
        issued(stage, stage.ask(task))
