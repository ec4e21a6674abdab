"""An agent's life: provisioned by CI within its rule, accepted by its owner, changed, ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from valetkey.core.agent import Agent, AgentState, Binding, Identity, identity_of
from valetkey.core.client_key import CLIENT_KEY, check_client_key
from valetkey.core.errors import (
    BindingTaken,
    ChangedMeanwhile,
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
from valetkey.core.proposal import agent_digest
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

    @property
    def identity(self) -> Identity:
        """Which identity is to be bound."""
        return identity_of(self.issuer, self.claims)


@dataclass(frozen=True)
class NewAgent:
    """What a CI job wants an agent to be."""

    name: str
    owner: str
    team: str
    labels: Mapping[str, str]
    boundary: tuple[Scope, ...]
    bindings: tuple[NewBinding, ...] = ()

    def provision(self) -> Provision:
        """The same in the terms of trust rules."""
        issuers = frozenset(binding.issuer for binding in self.bindings)
        return Provision(self.name, self.owner, self.team, self.labels, self.boundary, issuers)


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
        tx.record(agent_fact(FactKind.AGENT_REGISTERED, agent, by))
        for binding in new.bindings:
            bind_identity(broker, tx, agent, binding, by)
    return agent


def bind_agent(
    broker: Broker, caller: Caller, rule: TrustRule | None, agent_id: str, new: NewBinding
) -> Binding:
    """Bind one more workload identity; only the rule that made the agent, or its owner, may.

    Once a person has accepted the agent, a job proposes it instead (`flows.provision`).
    """
    with broker.store.transaction() as tx:
        agent = mine(tx, caller, rule, agent_id)
        if rule is not None and new.issuer not in rule.allows.may_bind:
            raise OutsideTrustRule("the rule may not bind identities of this issuer")
        if rule is not None and agent.state is not AgentState.PROPOSED:
            raise RoleRequired("a person binds more to an accepted agent, or accepts a proposal")
        tx.save_agent(touched(agent, caller))
        return bind_identity(broker, tx, agent, new, str(caller.principal))


def unbind_agent(
    broker: Broker, caller: Caller, rule: TrustRule | None, agent_id: str, binding_id: str
) -> Agent:
    """Take one workload identity away from an agent; its owner, an operator or its rule's job may.

    It gets no token any more. Tokens it has live out their minutes; tasks, which belong to keys,
    and what was given for them go on to their own ends. Raises NotFound, also the second time.
    """
    with broker.store.transaction() as tx:
        agent = locked_agent(tx, agent_id)
        if agent is None or not ("operator" in caller.roles or is_of(agent, caller, rule)):
            raise NotFound()
        gone = next((one for one in tx.bindings(agent.id) if one.id == binding_id), None)
        if gone is None:
            raise NotFound()
        changed = touched(agent, caller)
        tx.save_agent(changed)
        unbind_identity(tx, changed, gone, str(caller.principal))
    return changed


def accept_agent(broker: Broker, caller: Caller, agent_id: str, digest: str | None = None) -> Agent:
    """The named owner takes responsibility, once; for what was seen, if its digest is given.

    Raises NotFound for anybody else, ChangedMeanwhile.
    """
    with broker.store.transaction() as tx:
        agent = locked_agent(tx, agent_id)
        if agent is None or caller.email is None or caller.email != agent.owner:
            raise NotFound()
        if agent.state is not AgentState.PROPOSED:
            return agent
        unchanged(tx, agent, digest)
        accepted = agent.accepted(tx.now())
        tx.save_agent(accepted)
        tx.record(agent_fact(FactKind.AGENT_ACCEPTED, accepted, str(caller.principal)))
    return accepted


def disable_agent(
    broker: Broker,
    caller: Caller,
    agent_id: str,
    rule: TrustRule | None = None,
    digest: str | None = None,
) -> Agent:
    """Stop an agent: it may not ask; its tasks, with all under them, and what it holds end.

    Its owner, an operator, or a job of the rule that made it may; one who names the digest that
    it knows gets ChangedMeanwhile when there is another. The barrier is closed, so that no lease
    of the agent is being written or activated unseen.
    """
    with broker.store.transaction() as tx:
        tx.close_barrier()
        agent = locked_agent(tx, agent_id)
        if agent is None or not ("operator" in caller.roles or is_of(agent, caller, rule)):
            raise NotFound()
        unchanged(tx, agent, digest)
        disabled = agent.disabled()
        tx.save_agent(disabled)
        by = str(caller.principal)
        tx.record(agent_fact(FactKind.AGENT_DISABLED, disabled, by))
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
        agent = mine(tx, caller, rule, agent_id)
        changed = replace(touched(agent, caller), **changes)  # type: ignore[arg-type]
        if not all(within_any(scope, agent.boundary) for scope in changed.boundary):
            raise RoleRequired("a boundary is only narrowed here")
        changed = replace(changed, environment=changed.labels.get("environment", ""))
        if rule is not None:
            within_rule(rule, _as_new(changed))
        if changed.labels.get(VENDOR) != agent.labels.get(VENDOR):
            stays_under_kills(tx, agent)
        tx.save_agent(changed)
        tx.record(agent_fact(FactKind.AGENT_CHANGED, changed, str(caller.principal)))
    return changed


def within_rule(rule: TrustRule | None, new: NewAgent) -> None:
    """Raise OutsideTrustRule unless every part of the agent is within what the rule fixes."""
    if rule is None:
        raise WrongDoor("agents are provisioned by CI, under a trust rule")
    rule.bounds(new.provision())


def locked_agent(tx: Transaction, name: str) -> Agent | None:
    """An agent by id or name, its row locked: it is written back whole."""
    found = tx.agent(name, lock=True)
    named = None if found else tx.agent_named(name)
    return tx.agent(named.id, lock=True) if named else found


def mine(tx: Transaction, caller: Caller, rule: TrustRule | None, agent_id: str) -> Agent:
    """The agent, if the caller's rule made it or the caller owns it."""
    agent = locked_agent(tx, agent_id)
    if agent is None or not is_of(agent, caller, rule):
        raise NotFound()
    return agent


def is_of(agent: Agent, caller: Caller, rule: TrustRule | None) -> bool:
    """Whether the caller's rule made the agent, or the caller owns it."""
    by_rule = rule is not None and agent.created_by_rule == rule.name
    if by_rule and rule is not None:
        rule.admits("agents")
    return by_rule or (caller.email is not None and caller.email == agent.owner)


def unchanged(tx: Transaction, agent: Agent, digest: str | None) -> None:
    """Raise ChangedMeanwhile when the agent is not what the caller knows; None knows nothing."""
    if digest is not None and digest != agent_digest(agent, tx.bindings(agent.id)):
        raise ChangedMeanwhile()


def free_identity(broker: Broker, tx: Transaction, agent_id: str | None, new: NewBinding) -> None:
    """Raise BindingTaken when it is (or may be) another agent's, TrustRuleTooWide when too wide.

    Raises InvalidRequest for an issuer that is not registered, where any are.
    """
    if new.issuer == CLIENT_KEY:
        check_client_key(new.claims)
    elif broker.platforms and new.issuer not in broker.platforms:
        raise InvalidRequest("the issuer of the binding is not registered here")
    else:
        check_binding(new.claims, broker.platforms.get(new.issuer, "generic"))
    others = (x for x in tx.bindings_of_issuer(new.issuer) if x.agent_id != agent_id)
    if any(x.shares_identity(new.claims) for x in others):
        raise BindingTaken()


def bind_identity(
    broker: Broker, tx: Transaction, agent: Agent, new: NewBinding, by: str
) -> Binding:
    """Bind it, with its fact. Raises what `free_identity` does."""
    free_identity(broker, tx, agent.id, new)
    issuer, claims = new.identity
    binding = Binding(
        id=broker.new_id("binding"),
        agent_id=agent.id,
        issuer=issuer,
        claims=claims,
        created_by=by,
        created_at=tx.now(),
    )
    if not tx.add_binding(binding):
        raise BindingTaken()
    bound = {"binding": binding.id, "issuer": binding.issuer, "claims": dict(binding.claims)}
    fact = agent_fact(FactKind.AGENT_BOUND, agent, by)
    tx.record(replace(fact, body=bound))
    return binding


def unbind_identity(tx: Transaction, agent: Agent, gone: Binding, by: str) -> None:
    """Take it away, with its fact: it proves nothing any more."""
    tx.remove_binding(gone.id)
    body = {"binding": gone.id, "issuer": gone.issuer, "claims": dict(gone.claims)}
    tx.record(replace(agent_fact(FactKind.AGENT_UNBOUND, agent, by), body=body))


def stays_under_kills(tx: Transaction, agent: Agent) -> None:
    """Raise Killed for an agent under a kill in force; what kills reach by does not change then."""
    reach = Reach(agent_id=agent.id, owner=agent.owner, vendor=agent.labels.get(VENDOR))
    if tx.kills_over(reach):
        raise Killed()


def touched(agent: Agent, caller: Caller) -> Agent:
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


def agent_fact(kind: FactKind, agent: Agent, by: str) -> Fact:
    """What happened to an agent, with what it is then."""
    body: dict[str, object] = {
        "name": agent.name,
        "team": agent.team,
        "environment": agent.environment,
        "labels": dict(agent.labels),
        "boundary": [str(scope) for scope in agent.boundary],
        "rule": agent.created_by_rule,
    }
    return Fact(kind=kind, by=by, agent_id=agent.id, owner=agent.owner, body=body)
