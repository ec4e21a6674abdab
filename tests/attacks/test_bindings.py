"""Whoever may set up agents tries to have, or to lock out, the identity of another agent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from valetkey.core.agent import Agent
from valetkey.core.errors import (
    BindingTaken,
    InvalidRequest,
    NotFound,
    OutsideTrustRule,
    RoleRequired,
    WrongDoor,
)
from valetkey.core.principal import Caller
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
)
from valetkey.identity.bindings import StoredBindings
from valetkey.testing.brokers import Stage

MALLORY = "mallory@example.com"
VICTIM = (("sub", "system:serviceaccount:shop:refund-bot"),)
RULE = TrustRule(
    "shop-ci",
    "github",
    {"repository_id": "1", "repository_owner_id": "2", "environment": "production"},
    Allowance(
        "shop-",
        frozenset({MALLORY}),
        frozenset({"shop"}),
        {},
        (Scope("orders-db", "read"),),
        frozenset({"workloads"}),
    ),
)


@pytest.fixture
def job(stage: Stage) -> Caller:
    """A taken-over CI job under its rule."""
    return replace(stage.bot, kind="ci", agent_id=None, agent=None, rule=RULE.name)


@pytest.fixture
def mallory(stage: Stage) -> Caller:
    """The owner of an agent, who wants more."""
    return stage.person(MALLORY)


@pytest.fixture
def hers(stage: Stage, job: Caller) -> Agent:
    """An agent that the job made for her."""
    bind_agent(stage.broker, stage.owner, None, stage.agent.id, NewBinding("workloads", VICTIM))
    return register_agent(stage.broker, job, RULE, wanted())


def wanted(**changes: object) -> NewAgent:
    """An agent within the rule, but for the changes."""
    usual: dict[str, object] = {
        "name": "shop-bot",
        "owner": MALLORY,
        "team": "shop",
        "labels": {},
        "boundary": (Scope("orders-db", "read"),),
    }
    return NewAgent(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "claims",
    [
        VICTIM,
        (*VICTIM, ("aud", "https://valetkey.example.com")),
        (*VICTIM, ("kubernetes.io/namespace", "shop")),
    ],
)
def test_another_agents_identity_is_not_bound_however_much_is_added(
    stage: Stage, mallory: Caller, hers: Agent, claims: tuple[tuple[str, str], ...]
) -> None:
    """Two agents for one identity would lock both out: whoever owns any agent could stop any."""
    with pytest.raises(BindingTaken):
        bind_agent(stage.broker, mallory, None, hers.id, NewBinding("workloads", claims))
    shown = {"sub": VICTIM[0][1], "aud": "https://valetkey.example.com"}
    found = StoredBindings(stage.broker.store).binding_for("workloads", shown)
    assert found is not None
    assert found.agent_id == stage.agent.id


def test_a_binding_that_covers_another_agents_is_taken_too(
    stage: Stage, mallory: Caller, hers: Agent
) -> None:
    """Fewer claims than another agent pins are no other identity."""
    narrow = (("sub", "job"), ("kubernetes.io/namespace", "shop"))
    bind_agent(stage.broker, stage.owner, None, stage.agent.id, NewBinding("workloads", narrow))
    with pytest.raises(BindingTaken):
        bind_agent(stage.broker, mallory, None, hers.id, NewBinding("workloads", narrow[:1]))


def test_a_job_binds_and_changes_only_what_its_rule_made(
    stage: Stage, job: Caller, hers: Agent
) -> None:
    """Another's agent does not exist for it, and another issuer is outside the rule."""
    own = NewBinding("workloads", (("sub", "mine"),))
    with pytest.raises(NotFound):
        bind_agent(stage.broker, job, RULE, stage.agent.id, own)
    with pytest.raises(NotFound):
        change_agent(stage.broker, job, RULE, stage.agent.name, {"team": "shop"})
    with pytest.raises(OutsideTrustRule):
        bind_agent(stage.broker, job, RULE, hers.id, replace(own, issuer="people"))


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "accomplice@example.com"},
        {"owner": MALLORY.upper()},
        {"name": "refund-bot-2"},
        {"team": "refunds"},
        {"labels": {"environment": "production"}},
        {"boundary": (Scope("orders-db", "write"),)},
        {"boundary": (Scope("orders-db", "read"), Scope("orders-db", "drop"))},
        {"bindings": (NewBinding("github", (("sub", "x"),)),)},
    ],
)
def test_nothing_outside_the_rule_is_registered(
    stage: Stage, job: Caller, changes: dict[str, object]
) -> None:
    """Every part that the rule fixes is held to it, letter by letter."""
    with pytest.raises(OutsideTrustRule):
        register_agent(stage.broker, job, RULE, wanted(**changes))


def test_nobody_widens_an_agent(stage: Stage, job: Caller, mallory: Caller, hers: Agent) -> None:
    """Neither its job nor its owner, nor by a field that is no business of theirs."""
    wider = {"boundary": (Scope("orders-db", "write"),)}
    for caller, rule in ((job, RULE), (mallory, None)):
        with pytest.raises((OutsideTrustRule, RoleRequired)):
            change_agent(stage.broker, caller, rule, hers.id, wider)
        for field in ("state", "owner", "created_by_rule", "touched_by", "name"):
            with pytest.raises(InvalidRequest):
                change_agent(stage.broker, caller, rule, hers.id, {field: "x"})


def test_a_disabled_agent_is_not_accepted_again(stage: Stage, mallory: Caller, hers: Agent) -> None:
    """Its owner's yes was asked for once."""
    disable_agent(stage.broker, stage.operator, hers.id)
    accept_agent(stage.broker, mallory, hers.id)
    accept_agent(stage.broker, mallory, hers.name)
    with stage.broker.store.transaction() as tx:
        now = tx.agent(hers.id)
    assert now is not None
    assert now.state == "disabled"


def test_a_person_without_a_rule_provisions_nothing(stage: Stage, mallory: Caller) -> None:
    """Agents come from CI, under a rule."""
    with pytest.raises(WrongDoor):
        register_agent(stage.broker, mallory, None, wanted())
