"""An agent's life: provisioned by CI within its rule, accepted by its owner, changed, ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.client_key import CLIENT_KEY, check_client_key
from valetkey.core.errors import (
    BindingTaken,
    InvalidRequest,
    Killed,
    NameTaken,
    NotFound,
    OutsideTrustRule,
    RoleRequired,
    WrongDoor,
)
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import VENDOR, Reach
from valetkey.core.lease import LIVE
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope, within_any
from valetkey.core.trust import Provision, TrustRule, check_binding
from valetkey.flows.end_task import close_task
from valetkey.flows.revoke import mark_ending
from valetkey.ports import Broker, Transaction


@dataclass(frozen=True)
class NewBinding:
    """A workload identity to be bound: a registered issuer and exact claim values."""

    issuer: str
    claims: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NewAgent:
    """What a CI job wants an agent to be."""

    name: str
    owner: str
    team: str
    labels: Mapping[str, str]
    boundary: tuple[Scope, ...]
    bindings: tuple[NewBinding, ...] = ()


def register_agent(broker: Broker, caller: Caller, rule: TrustRule | None, new: NewAgent) -> Agent:
    """Provision an agent within the caller's trust rule; its owner must accept it.

    Raises OutsideTrustRule, NameTaken, BindingTaken, UnknownScope, InvalidParameter.
    """
    within_rule(rule, new)
    for scope in new.boundary:
        broker.rules().catalogue.check_bound(scope)
    by = str(caller.principal)
    with broker.store.transaction() as tx:
        agent = Agent(
            id=broker.new_id("agent"),
            name=new.name,
            owner=new.owner,
            team=new.team,
            environment=new.labels.get("environment", ""),
            labels=dict(new.labels),
            boundary=new.boundary,
            state=AgentState.PROPOSED,
            created_by=by,
            created_by_rule=rule.name if rule else None,
            created_at=tx.now(),
        )
        if not tx.add_agent(agent):
            raise NameTaken()
        tx.record(_fact(FactKind.AGENT_REGISTERED, agent, by))
        for binding in new.bindings:
            _bind(broker, tx, agent, binding, by)
    return agent


def bind_agent(
    broker: Broker, caller: Caller, rule: TrustRule | None, agent_id: str, new: NewBinding
) -> Binding:
    """Bind one more workload identity; only the rule that made the agent, or its owner, may."""
    with broker.store.transaction() as tx:
        agent = _mine(tx, caller, rule, agent_id)
        if rule is not None and new.issuer not in rule.allows.may_bind:
            raise OutsideTrustRule("the rule may not bind identities of this issuer")
        tx.save_agent(_touched(agent, caller))
        return _bind(broker, tx, agent, new, str(caller.principal))


def accept_agent(broker: Broker, caller: Caller, agent_id: str) -> Agent:
    """The named owner takes responsibility, once. Raises NotFound for anybody else."""
    with broker.store.transaction() as tx:
        agent = _locked(tx, agent_id)
        if agent is None or caller.email is None or caller.email != agent.owner:
            raise NotFound()
        if agent.state is not AgentState.PROPOSED:
            return agent
        accepted = agent.accepted(tx.now())
        tx.save_agent(accepted)
        tx.record(_fact(FactKind.AGENT_ACCEPTED, accepted, str(caller.principal)))
    return accepted


def disable_agent(broker: Broker, caller: Caller, agent_id: str) -> Agent:
    """Stop an agent: it may not ask; its tasks, with all under them, and what it holds end.

    The barrier is closed, so that no lease of it is being written or activated unseen.
    """
    with broker.store.transaction() as tx:
        tx.close_barrier()
        agent = _locked(tx, agent_id)
        operator = "operator" in caller.roles
        if agent is None or not (operator or (caller.email and caller.email == agent.owner)):
            raise NotFound()
        disabled = agent.disabled()
        tx.save_agent(disabled)
        by = str(caller.principal)
        tx.record(_fact(FactKind.AGENT_DISABLED, disabled, by))
        for task in tx.open_tasks_of(agent.id):
            open_task = tx.task(task.id, lock=True)
            if open_task is not None:
                close_task(tx, open_task, "agent_disabled", by)
        while held := sorted(x.id for state in LIVE for x in tx.leases(state, agent.id, None)):
            locked = (tx.lease(lease_id, lock=True) for lease_id in held)  # oldest first, as all do
            mark_ending(tx, [x for x in locked if x is not None], "agent_disabled", by)
    return disabled


def change_agent(
    broker: Broker,
    caller: Caller,
    rule: TrustRule | None,
    agent_id: str,
    changes: Mapping[str, object],
) -> Agent:
    """Change team, labels or boundary; a boundary may only become narrower this way.

    Raises OutsideTrustRule, RoleRequired when it would widen, NotFound, InvalidRequest for any
    other field, Killed when it would slip from under a kill of its vendor.
    """
    if not changes or not changes.keys() <= {"team", "labels", "boundary"}:
        raise InvalidRequest("team, labels and boundary can be changed")
    with broker.store.transaction() as tx:
        tx.hold_barrier()
        agent = _mine(tx, caller, rule, agent_id)
        changed = replace(_touched(agent, caller), **changes)  # type: ignore[arg-type]
        if not all(within_any(scope, agent.boundary) for scope in changed.boundary):
            raise RoleRequired("a boundary is only narrowed here")
        changed = replace(changed, environment=changed.labels.get("environment", ""))
        if rule is not None:
            within_rule(rule, _as_new(changed))
        if changed.labels.get(VENDOR) != agent.labels.get(VENDOR):
            _stays_under_kills(tx, agent)
        tx.save_agent(changed)
        tx.record(_fact(FactKind.AGENT_CHANGED, changed, str(caller.principal)))
    return changed


def within_rule(rule: TrustRule | None, new: NewAgent) -> None:
    """Raise OutsideTrustRule unless every part of the agent is within what the rule fixes."""
    if rule is None:
        raise WrongDoor("agents are provisioned by CI, under a trust rule")
    issuers = frozenset(binding.issuer for binding in new.bindings)
    rule.bounds(Provision(new.name, new.owner, new.team, new.labels, new.boundary, issuers))


def _locked(tx: Transaction, name: str) -> Agent | None:
    """An agent by id or name, its row locked: it is written back whole."""
    found = tx.agent(name, lock=True)
    named = None if found else tx.agent_named(name)
    return tx.agent(named.id, lock=True) if named else found


def _mine(tx: Transaction, caller: Caller, rule: TrustRule | None, agent_id: str) -> Agent:
    """The agent, if the caller's rule made it or the caller owns it."""
    agent = _locked(tx, agent_id)
    by_rule = agent is not None and rule is not None and agent.created_by_rule == rule.name
    by_owner = agent is not None and caller.email is not None and caller.email == agent.owner
    if agent is None or not (by_rule or by_owner):
        raise NotFound()
    return agent


def _bind(broker: Broker, tx: Transaction, agent: Agent, new: NewBinding, by: str) -> Binding:
    if new.issuer == CLIENT_KEY:
        check_client_key(new.claims)
    else:
        check_binding(new.claims, broker.platforms.get(new.issuer, "generic"))
    binding = Binding(
        id=broker.new_id("binding"),
        agent_id=agent.id,
        issuer=new.issuer,
        claims=tuple(sorted(new.claims)),
        created_by=by,
        created_at=tx.now(),
    )
    others = (x for x in tx.bindings_of_issuer(new.issuer) if x.agent_id != agent.id)
    if any(x.shares_identity(new.claims) for x in others) or not tx.add_binding(binding):
        raise BindingTaken()
    bound = {"binding": binding.id, "issuer": binding.issuer, "claims": dict(binding.claims)}
    fact = _fact(FactKind.AGENT_BOUND, agent, by)
    tx.record(replace(fact, body=bound))
    return binding


def _stays_under_kills(tx: Transaction, agent: Agent) -> None:
    reach = Reach(agent_id=agent.id, owner=agent.owner, vendor=agent.labels.get(VENDOR))
    if tx.kills_over(reach):
        raise Killed()


def _touched(agent: Agent, caller: Caller) -> Agent:
    """Who changed or bound an agent cannot approve for it."""
    names = {*agent.touched_by, str(caller.principal), caller.email or ""}
    return replace(agent, touched_by=tuple(sorted(names - {""})))


def _as_new(agent: Agent) -> NewAgent:
    return NewAgent(
        name=agent.name,
        owner=agent.owner,
        team=agent.team,
        labels=agent.labels,
        boundary=agent.boundary,
    )


def _fact(kind: FactKind, agent: Agent, by: str) -> Fact:
    body: dict[str, object] = {
        "name": agent.name,
        "team": agent.team,
        "environment": agent.environment,
        "labels": dict(agent.labels),
        "boundary": [str(scope) for scope in agent.boundary],
        "rule": agent.created_by_rule,
    }
    return Fact(kind=kind, by=by, agent_id=agent.id, owner=agent.owner, body=body)
