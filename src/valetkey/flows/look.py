"""Look: who may read what. Each function is one reading transaction and changes nothing.

What may not be seen is NotFound, exactly as what does not exist.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from valetkey.core.agent import Agent, Binding
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import NotFound, RoleRequired
from valetkey.core.facts import FactKind, HistoryQuery, RecordedFact
from valetkey.core.grant import Approval, Grant
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.end_task import is_for, line, may_see
from valetkey.ports import Broker, Transaction

SEES_ALL = frozenset({"operator", "auditor"})
MOST_FACTS = 500


@dataclass(frozen=True)
class SeenAgent:
    """An agent with the identities bound to it."""

    agent: Agent
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class SeenGrant:
    """A grant with the verdicts on it."""

    grant: Grant
    approvals: tuple[Approval, ...]


@dataclass(frozen=True)
class Lineage:
    """Where one lease comes from: who, for whom, which task, which rule, who approved."""

    lease: Lease
    grant: SeenGrant | None
    task: Task | None
    agent: SeenAgent | None
    decision: Mapping[str, object] | None
    facts: tuple[RecordedFact, ...]


@dataclass(frozen=True)
class Branch:
    """A task, its agent's name, its leases, and the branches of the tasks opened under it."""

    task: Task
    agent: str
    leases: tuple[Lease, ...]
    children: tuple[Branch, ...]


def agents(broker: Broker, caller: Caller) -> list[SeenAgent]:
    """All agents for operators and auditors, an owner's own, or the calling agent itself."""
    with broker.store.transaction() as tx:
        return [_with_bindings(tx, agent) for agent in tx.agents() if _sees_agent(caller, agent)]


def agent(broker: Broker, caller: Caller, name: str) -> SeenAgent:
    """One agent by id or name. Raises NotFound."""
    with broker.store.transaction() as tx:
        found = tx.agent(name) or tx.agent_named(name)
        if found is None or not _sees_agent(caller, found):
            raise NotFound()
        return _with_bindings(tx, found)


def with_bindings(broker: Broker, changed: Agent) -> SeenAgent:
    """An agent that the caller has just changed, with its bindings."""
    with broker.store.transaction() as tx:
        return _with_bindings(tx, changed)


def tasks(broker: Broker, caller: Caller) -> list[Task]:
    """The newest tasks that the caller may see."""
    if _is_nobody(caller):
        return []
    with broker.store.transaction() as tx:
        found = tx.tasks(caller.agent_id, _owner(caller))
    return [task for task in found if may_see(caller, task)]


def task(broker: Broker, caller: Caller, task_id: str) -> Task:
    """One task. Raises NotFound."""
    with broker.store.transaction() as tx:
        return _seen_task(tx, caller, task_id)


def tree(broker: Broker, caller: Caller, task_id: str) -> Branch:
    """A task with everything under it, for whoever may see it. Raises NotFound."""
    with broker.store.transaction() as tx:
        seen, under = _seen_task(tx, caller, task_id), defaultdict[str | None, list[Task]](list)
        for below in tx.tasks_below(task_id):
            under[below.parent_id].append(below)
        return _branch(tx, seen, under)


def grants(
    broker: Broker, caller: Caller, state: str | None, task_id: str | None
) -> list[SeenGrant]:
    """The newest grants that the caller may see, of a state, of a task."""
    if _is_nobody(caller):
        return []
    with broker.store.transaction() as tx:
        owned = {t.id for t in tx.tasks(None, caller.email)} if caller.email else set()
        found = [g for g in tx.grants(state, task_id) if sees_grant(caller, g, g.task_id in owned)]
        return [SeenGrant(g, tuple(tx.approvals(g.id))) for g in found]


def grant(broker: Broker, caller: Caller, grant_id: str) -> SeenGrant:
    """One grant. Raises NotFound."""
    with broker.store.transaction() as tx:
        found = tx.grant(grant_id)
        for_task = tx.task(found.task_id) if found else None
        if found is None or for_task is None:
            raise NotFound()
        own = caller.email is not None and for_task.owner == caller.email
        if not sees_grant(caller, found, own):
            raise NotFound()
        return SeenGrant(found, tuple(tx.approvals(grant_id)))


def with_approvals(broker: Broker, decided: Grant) -> SeenGrant:
    """A grant that the caller has just decided, with every verdict on it."""
    with broker.store.transaction() as tx:
        return SeenGrant(decided, tuple(tx.approvals(decided.id)))


def leases(
    broker: Broker, caller: Caller, state: str | None, agent_name: str | None, owner: str | None
) -> list[Lease]:
    """The newest leases that the caller may see, of a state, an agent, an owner."""
    if _is_nobody(caller):
        return []
    forced = _owner(caller)
    if None not in (forced, owner) and owner != forced:
        return []
    with broker.store.transaction() as tx:
        agent_id = caller.agent_id
        if agent_name is not None:
            named = tx.agent(agent_name) or tx.agent_named(agent_name)
            if named is None or agent_id not in (None, named.id):
                return []
            agent_id = named.id
        return list(tx.leases(state, agent_id, forced or owner))


def lease(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """One lease. Raises NotFound."""
    with broker.store.transaction() as tx:
        found = tx.lease(lease_id)
        if found is None or not _sees_lease(tx, caller, found):
            raise NotFound()
    return found


def lineage(broker: Broker, caller: Caller, lease_id: str) -> Lineage:
    """Everything that led to a lease and came of it. Raises NotFound."""
    with broker.store.transaction() as tx:
        found = tx.lease(lease_id)
        if found is None or not _sees_lease(tx, caller, found):
            raise NotFound()
        given = tx.grant(found.grant_id) if found.grant_id else None
        by = tx.agent(found.agent_id) if found.agent_id else None
        facts = _facts_of(tx, found)
        decision_id = _decided_by(facts) or (given.decision_id if given else None)
        return Lineage(
            lease=found,
            grant=SeenGrant(given, tuple(tx.approvals(given.id))) if given else None,
            task=tx.task(found.task_id) if found.task_id else None,
            agent=_with_bindings(tx, by) if by else None,
            decision=tx.decision(decision_id) if decision_id else None,
            facts=facts,
        )


def history(broker: Broker, caller: Caller, query: HistoryQuery) -> list[RecordedFact]:
    """Facts, newest first; an owner sees those of their own. Raises RoleRequired for others."""
    if not caller.roles & SEES_ALL:
        if not caller.email:
            raise RoleRequired()
        query = replace(query, owner=caller.email)
    with broker.store.transaction() as tx:
        if query.agent_id is not None:
            named = tx.agent(query.agent_id) or tx.agent_named(query.agent_id)
            query = replace(query, agent_id=named.id if named else query.agent_id)
        return list(tx.history(query))


def offers(broker: Broker, caller: Caller) -> tuple[str, list[CataloguedScope]]:
    """The catalogue's digest and its scopes; for an agent only what its boundary reaches."""
    catalogue = broker.rules().catalogue
    found = [
        CataloguedScope(Scope(target.name, name), target, definition, catalogue.digest)
        for target in catalogue.targets.values()
        for name, definition in target.scopes.items()
    ]
    if caller.agent_id is None:
        return catalogue.digest, found
    with broker.store.transaction() as tx:
        own = tx.agent(caller.agent_id)
    reached = {(bound.target, bound.name) for bound in own.boundary} if own else set()
    return catalogue.digest, [x for x in found if (x.scope.target, x.scope.name) in reached]


def _is_nobody(caller: Caller) -> bool:
    """A person of whom we know neither a role nor an address owns nothing."""
    return caller.agent_id is None and not caller.email and not caller.roles


def _owner(caller: Caller) -> str | None:
    """Whose things a list is limited to; None for an agent and for who sees all."""
    if caller.agent_id is not None or caller.roles & SEES_ALL:
        return None
    return caller.email or "nobody"


def _sees_agent(caller: Caller, agent: Agent) -> bool:
    if caller.agent_id is not None:
        return caller.agent_id == agent.id
    return bool(caller.roles & SEES_ALL) or caller.email == agent.owner


def _sees_lease(tx: Transaction, caller: Caller, lease: Lease) -> bool:
    """Its agent, its owner, the person on whose behalf it is, and who sees all."""
    if caller.agent_id is not None:
        return caller.agent_id == lease.agent_id
    if caller.roles & SEES_ALL or caller.email == lease.owner:
        return True
    task = tx.task(lease.task_id) if lease.task_id else None
    return task is not None and is_for(caller, task)


def sees_grant(caller: Caller, grant: Grant, owned: bool) -> bool:
    """Its agent, its owner, those it waits for, and who sees all."""
    if caller.agent_id is not None:
        return caller.agent_id == grant.agent_id
    asked = caller.groups & {group for group, _ in grant.needs}
    return owned or bool(asked or caller.roles & (SEES_ALL | {"approver"}))


def _with_bindings(tx: Transaction, agent: Agent) -> SeenAgent:
    return SeenAgent(agent, tuple(tx.bindings(agent.id)))


def _decided_by(facts: Sequence[RecordedFact]) -> str | None:
    """The decision under which this very lease was written; its grant may have had others."""
    written = (x.fact.decision_id for x in facts if x.fact.kind is FactKind.LEASE_WRITTEN)
    return next(written, None)


def _facts_of(tx: Transaction, lease: Lease) -> tuple[RecordedFact, ...]:
    """The lease's own facts, and those of its grant and task that are no other lease's."""
    own: Sequence[RecordedFact] = tx.history(HistoryQuery(lease_id=lease.id, limit=MOST_FACTS))
    found = {entry.number: entry for entry in own}
    if lease.task_id is not None:
        for entry in tx.history(HistoryQuery(task_id=lease.task_id, limit=MOST_FACTS)):
            same_lease = entry.fact.lease_id in (None, lease.id)
            if same_lease and entry.fact.grant_id in (None, lease.grant_id):
                found[entry.number] = entry
    return tuple(found[number] for number in sorted(found))


def _seen_task(tx: Transaction, caller: Caller, task_id: str) -> Task:
    """A task that is the caller's own, or stands under one that is."""
    found = tx.task(task_id)
    if found is None:
        raise NotFound()
    if not any(may_see(caller, one) for one in line(tx, found)):
        found.was_taken(caller.agent_id)
        raise NotFound()
    return found


def _branch(tx: Transaction, root: Task, under: Mapping[str | None, Sequence[Task]]) -> Branch:
    """The task with all below it; `under` holds the tasks by the one that they hang on."""
    agent = tx.agent(root.agent_id)
    return Branch(
        root,
        agent.name if agent else root.agent_id,
        tuple(tx.leases_of_task(root.id)),
        tuple(_branch(tx, child, under) for child in under.get(root.id, ())),
    )
