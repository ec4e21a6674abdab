"""Provisioning from reviewed files: what would change, and one agent made equal to its file.

What narrows is done at once. What widens an agent that a person has accepted, its boundary or who
may be it, becomes a proposal that a person accepts (`flows.proposals`). The broker compares; the
job says only what it wants, and which state of the agent it has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from valetkey.core.agent import Agent, AgentState
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    InvalidRequest,
    NameTaken,
    OutsideTrustRule,
    WrongDoor,
)
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import VENDOR
from valetkey.core.principal import Caller
from valetkey.core.proposal import Proposal, ProposalState, agent_digest
from valetkey.core.trust import TrustRule
from valetkey.flows.agents import (
    NewAgent,
    NewBinding,
    agent_fact,
    bind_identity,
    free_identity,
    mine,
    stays_under_kills,
    touched,
    unbind_identity,
    unchanged,
)
from valetkey.flows.differences import Change, Differences, compare, listed, said
from valetkey.ports import Broker, Transaction

_PARTS = {"label": "labels", "binding": "bindings"}


@dataclass(frozen=True)
class Wrong:
    """What stands against one part of what is wanted."""

    part: str
    error: BrokerError


@dataclass(frozen=True)
class Planned:
    """What would be done about one agent; `digest` names what it is now, None: there is none.

    `proposal` asks for just what waits, so that nothing is to be sent for it.
    """

    name: str
    digest: str | None = None
    changes: tuple[Change, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    proposal: Proposal | None = None


@dataclass(frozen=True)
class AgentsPlan:
    """The plan for each agent that was named, and the others that the rule made and that work."""

    agents: tuple[Planned, ...]
    others: tuple[Planned, ...]


@dataclass(frozen=True)
class Wish:
    """What a file wants of an agent whose digest is known; `prune` also takes bindings away."""

    new: NewAgent
    digest: str
    prune: bool = False


@dataclass(frozen=True)
class Provisioned:
    """An agent as it is now, and the proposal for what waits, if anything does."""

    agent: Agent
    proposal: Proposal | None


def plan_agents(
    broker: Broker, caller: Caller, rule: TrustRule | None, wanted: Sequence[NewAgent]
) -> AgentsPlan:
    """What would change, and everything that stands against it; nothing is written.

    Raises WrongDoor for a caller without a rule.
    """
    if rule is None:
        raise WrongDoor("agents are provisioned by CI, under a trust rule")
    rule.admits("agents")
    names = {new.name for new in wanted}
    with broker.store.transaction() as tx:
        plans = tuple(_planned(broker, tx, rule, new) for new in wanted)
        of_rule = (one for one in tx.agents() if one.created_by_rule == rule.name)
        left = [x for x in of_rule if x.name not in names and x.state is not AgentState.DISABLED]
        others = [Planned(x.name, agent_digest(x, tx.bindings(x.id))) for x in left]
    return AgentsPlan(plans, tuple(others))


def provision_agent(
    broker: Broker, caller: Caller, rule: TrustRule | None, agent_id: str, wish: Wish
) -> Provisioned:
    """Make one agent equal to what is wanted, as far as no person is asked; propose the rest.

    Raises what stands against it, ChangedMeanwhile, NotFound for an agent of another rule, and
    Killed when it would slip from under a kill of its vendor.
    """
    if rule is None:
        raise WrongDoor("agents are provisioned by CI, under a trust rule")
    rule.admits("agents")
    with broker.store.transaction() as tx:
        tx.hold_barrier()
        agent = mine(tx, caller, rule, agent_id)
        unchanged(tx, agent, wish.digest)
        for wrong in _wrong(broker, tx, rule, wish.new, agent):
            raise wrong.error
        found = compare(agent, tx.bindings(agent.id), wish.new)
        changed = _at_once(tx, caller, agent, found)
        if not waits(agent):
            by = str(caller.principal)
            for issuer, claims in found.bind:
                bind_identity(broker, tx, changed, NewBinding(issuer, claims), by)
        if wish.prune:
            for gone in found.unbind:
                unbind_identity(tx, changed, gone, str(caller.principal))
        proposal = _propose(broker, tx, caller, changed, found)
    return Provisioned(changed, proposal)


def waits(agent: Agent) -> bool:
    """Whether what widens it waits: its owner's acceptance is still to come for a proposed one."""
    return agent.state is not AgentState.PROPOSED


def _planned(broker: Broker, tx: Transaction, rule: TrustRule, new: NewAgent) -> Planned:
    named = tx.agent_named(new.name) if new.name.startswith(rule.allows.name_prefix) else None
    ours = named is not None and named.created_by_rule == rule.name
    wrong = tuple(_wrong(broker, tx, rule, new, named))
    if named is None or not ours:
        return Planned(new.name, None, () if wrong else (Change("create", "agent"),), wrong)
    bindings = tx.bindings(named.id)
    found = compare(named, bindings, new)
    changes = [*listed(named, found, waits=waits(named))]
    proposal = tx.open_proposal(named.id)
    digest = agent_digest(named, bindings)
    if proposal is None or wrong:
        return Planned(new.name, digest, tuple(changes), wrong)
    if not (waits(named) and _asked(found)):
        changes.append(Change("withdraw", "proposal", proposal.id))
    same = proposal.asks_for(found.boundary, found.bind) and _stands(proposal, digest)
    return Planned(new.name, digest, tuple(changes), wrong, proposal if same else None)


def _wrong(
    broker: Broker, tx: Transaction, rule: TrustRule, new: NewAgent, agent: Agent | None
) -> Iterator[Wrong]:
    """Everything that stands against a wish, part by part."""
    for part in rule.outside(new.provision()):
        no = OutsideTrustRule(f"rule {rule.name} does not allow this {part}")
        yield Wrong(_PARTS.get(part, part), no)
    if agent is not None and agent.created_by_rule != rule.name:
        yield Wrong("name", NameTaken("another rule made an agent of this name"))
        return
    if agent is not None and agent.name != new.name:
        yield Wrong("name", InvalidRequest("name is not changed"))
    if agent is not None and agent.owner != new.owner:
        yield Wrong("owner", InvalidRequest("owner is not changed; register another agent"))
    if agent is not None and agent.state is AgentState.DISABLED:
        yield Wrong("name", AgentDisabled("this agent was disabled, and stays so"))
    for scope in new.boundary:
        try:
            broker.rules().catalogue.check_bound(scope)
        except BrokerError as no:
            yield Wrong("boundary", no)
    for binding in new.bindings:
        try:
            free_identity(broker, tx, agent.id if agent else None, binding)
        except BrokerError as no:
            yield Wrong("bindings", no)


def _at_once(tx: Transaction, caller: Caller, agent: Agent, found: Differences) -> Agent:
    """Write what no person is asked about: team, labels, and a boundary that only narrows."""
    boundary = found.at_once if found.narrows else agent.boundary
    if not waits(agent) and (found.narrows or found.widens):
        boundary = found.boundary
    changes: dict[str, object] = {**found.fields, "boundary": boundary}
    changed = replace(agent, **changes)  # type: ignore[arg-type]
    changed = replace(changed, environment=changed.labels.get("environment", ""))
    if changed == agent and not found.bind and not found.unbind:
        return agent
    if changed.labels.get(VENDOR) != agent.labels.get(VENDOR):
        stays_under_kills(tx, agent)
    changed = touched(changed, caller)
    tx.save_agent(changed)
    if found.fields or boundary != agent.boundary:
        tx.record(agent_fact(FactKind.AGENT_CHANGED, changed, str(caller.principal)))
    return changed


def _propose(
    broker: Broker, tx: Transaction, caller: Caller, agent: Agent, found: Differences
) -> Proposal | None:
    """The proposal for what waits: the one that asks for it already, or a new one in its place."""
    earlier, by = tx.open_proposal(agent.id), str(caller.principal)
    base = agent_digest(agent, tx.bindings(agent.id))
    asked = waits(agent) and _asked(found)
    if earlier is not None:
        same = asked and earlier.asks_for(found.boundary, found.bind)
        if same and _stands(earlier, base):
            return earlier
        tx.save_proposal(earlier.decided(ProposalState.SUPERSEDED, by, tx.now()))
        tx.record(proposal_fact(FactKind.CHANGE_SUPERSEDED, agent, earlier, by))
    if not asked:
        return None
    proposal = Proposal(
        id=broker.new_id("proposal"),
        agent_id=agent.id,
        owner=agent.owner,
        boundary=found.boundary,
        bindings=found.bind,
        base=base,
        rule=agent.created_by_rule or "",
        created_by=by,
        created_at=tx.now(),
        was=agent.boundary,
    )
    tx.add_proposal(proposal)
    tx.record(proposal_fact(FactKind.CHANGE_PROPOSED, agent, proposal, by))
    return proposal


def _asked(found: Differences) -> bool:
    return found.widens or bool(found.bind)


def _stands(proposal: Proposal, base: str) -> bool:
    """A refusal stands whatever else changes; what waits was shown for just this agent."""
    return proposal.state is ProposalState.REFUSED or proposal.base == base


def proposal_fact(kind: FactKind, agent: Agent, proposal: Proposal, by: str) -> Fact:
    """What happened to a proposal, with what it asks for."""
    body: dict[str, object] = {
        "proposal": proposal.id,
        "shown_hash": proposal.shown_hash,
        "rule": proposal.rule,
        "boundary": [str(scope) for scope in proposal.boundary],
        "bindings": [said(issuer, claims) for issuer, claims in proposal.bindings],
    }
    outcome = proposal.state.value if kind is FactKind.CHANGE_PROPOSED else "done"
    return Fact(kind=kind, by=by, outcome=outcome, agent_id=agent.id, owner=agent.owner, body=body)
