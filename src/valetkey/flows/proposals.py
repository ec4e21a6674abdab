"""People decide on what jobs propose: a wider boundary, or one more identity for an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from valetkey.core.agent import Agent, Binding
from valetkey.core.errors import (
    AlreadyDecided,
    ApprovalVoid,
    NotFound,
    OutsideTrustRule,
    RoleRequired,
)
from valetkey.core.facts import FactKind
from valetkey.core.principal import Caller
from valetkey.core.proposal import OPEN, Proposal, ProposalState, agent_digest
from valetkey.core.trust import TrustRule
from valetkey.flows.agents import (
    NewAgent,
    NewBinding,
    agent_fact,
    bind_identity,
    touched,
    within_rule,
)
from valetkey.flows.fresh import logged_in_for
from valetkey.flows.look import SEES_ALL
from valetkey.flows.provision import proposal_fact
from valetkey.ports import Broker, Transaction


@dataclass(frozen=True)
class SeenProposal:
    """A proposal beside the agent as it is now; `current`: it is still what was proposed for."""

    proposal: Proposal
    agent: Agent
    current: bool


def proposals(broker: Broker, caller: Caller) -> list[SeenProposal]:
    """The newest, all for operators and auditors, else of the caller's own agents."""
    owner = None if caller.roles & SEES_ALL else (caller.email or "nobody")
    with broker.store.transaction() as tx:
        return [_seen(tx, found) for found in tx.proposals(owner)]


def proposal(broker: Broker, caller: Caller, proposal_id: str) -> SeenProposal:
    """One proposal. Raises NotFound."""
    with broker.store.transaction() as tx:
        found = tx.proposal(proposal_id)
        if found is None or not (caller.roles & SEES_ALL or _decides(caller, found)):
            raise NotFound()
        return _seen(tx, found)


def accept_proposal(
    broker: Broker,
    caller: Caller,
    rules: Mapping[str, TrustRule],
    proposal_id: str,
    shown_hash: str,
) -> SeenProposal:
    """The owner or an operator says yes to exactly what was shown; it is so from then on.

    Raises NotFound, RoleRequired, FreshLoginRequired, AlreadyDecided, ApprovalVoid when the hash
    is another or the agent has changed since, and what the trust rule, the catalogue and the
    bindings of others have against it now.
    """
    with broker.store.transaction() as tx:
        tx.hold_barrier()
        found, agent, bindings = _open(tx, caller, proposal_id)
        logged_in_for(broker, tx, caller, fresh_name(found))
        if shown_hash != found.shown_hash or found.base != agent_digest(agent, bindings):
            raise ApprovalVoid("what you saw is not what would change now")
        changed = replace(touched(agent, caller), boundary=found.boundary)
        _allowed(broker, rules.get(found.rule), changed, found)
        tx.save_agent(changed)
        by = str(caller.principal)
        if changed.boundary != agent.boundary:
            tx.record(agent_fact(FactKind.AGENT_CHANGED, changed, by))
        for issuer, claims in found.bindings:
            bind_identity(broker, tx, changed, NewBinding(issuer, claims), by)
        accepted = found.decided(ProposalState.ACCEPTED, by, tx.now())
        tx.save_proposal(accepted)
        tx.record(proposal_fact(FactKind.CHANGE_ACCEPTED, changed, accepted, by))
        return SeenProposal(accepted, changed, current=True)


def refuse_proposal(broker: Broker, caller: Caller, proposal_id: str) -> SeenProposal:
    """The owner or an operator says no; a cached session may, and may think better of it later.

    Raises NotFound, RoleRequired, AlreadyDecided.
    """
    with broker.store.transaction() as tx:
        found, agent, _ = _open(tx, caller, proposal_id)
        by = str(caller.principal)
        refused = found.decided(ProposalState.REFUSED, by, tx.now())
        if found.state is not ProposalState.REFUSED:
            tx.save_proposal(refused)
            tx.record(proposal_fact(FactKind.CHANGE_REFUSED, agent, refused, by))
        return _seen(tx, refused)


def fresh_name(found: Proposal) -> str:
    """What a login must have been made for, to accept this proposal (the OIDC `nonce`)."""
    return f"widen:{found.id}:{found.shown_hash}"


def _open(
    tx: Transaction, caller: Caller, proposal_id: str
) -> tuple[Proposal, Agent, Sequence[Binding]]:
    """A proposal that may be decided, its agent's row locked before its own."""
    first = tx.proposal(proposal_id)
    agent = tx.agent(first.agent_id, lock=True) if first else None
    found = tx.proposal(proposal_id, lock=True)
    if found is None or agent is None or not (_decides(caller, found) or caller.roles & SEES_ALL):
        raise NotFound()
    if not _decides(caller, found) or caller.auth_time is None:
        raise RoleRequired("the agent's owner or an operator decides on it")
    if found.state not in OPEN:
        raise AlreadyDecided()
    return found, agent, tx.bindings(agent.id)


def _decides(caller: Caller, found: Proposal) -> bool:
    own = caller.email is not None and caller.email == found.owner
    return own or "operator" in caller.roles


def _allowed(broker: Broker, rule: TrustRule | None, changed: Agent, found: Proposal) -> None:
    """Raise what the rule and the catalogue of today have against it."""
    if rule is None:
        raise OutsideTrustRule("the trust rule that this was proposed under is gone")
    bindings = tuple(NewBinding(*one) for one in found.bindings)
    named = (changed.name, changed.owner, changed.team, changed.labels)
    within_rule(rule, NewAgent(*named, changed.boundary, bindings))
    for scope in changed.boundary:
        broker.rules().catalogue.check_bound(scope)


def _seen(tx: Transaction, found: Proposal) -> SeenProposal:
    agent = tx.agent(found.agent_id)
    assert agent is not None  # a foreign key
    digest = agent_digest(agent, tx.bindings(agent.id))
    return SeenProposal(found, agent, current=found.base == digest)
