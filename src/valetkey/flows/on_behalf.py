"""People let an agent act for them, see who does, and take it back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.agent import Agent
from valetkey.core.errors import (
    FreshLoginRequired,
    InvalidRequest,
    InvalidTtl,
    Killed,
    NotFound,
    RoleRequired,
)
from valetkey.core.facts import FactKind
from valetkey.core.kill import Reach
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.on_behalf import LOGIN, Delegation, Offer, Person
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.end_task import close_tasks, leases_below
from valetkey.flows.look import SEES_ALL
from valetkey.flows.resting import delegation_fact, new_delegation, reach_of_person
from valetkey.flows.sweep import settle
from valetkey.ports import Broker, Transaction


@dataclass(frozen=True)
class SeenDelegation:
    """A delegation with its agent's name; `live`: it gives authority now."""

    delegation: Delegation
    agent: str
    live: bool


def give_delegation(
    broker: Broker, caller: Caller, agent: str, scopes: tuple[Scope, ...], lasts: timedelta
) -> SeenDelegation:
    """The calling person lets an agent (its name or id) act for them; needs a login fresh for it.

    Raises FreshLoginRequired, whose `fresh_for` says what the login must be for; RoleRequired
    without a verified address, NotFound, InvalidTtl, UnknownScope, InvalidParameter, Killed.
    """
    person = Person.of(caller)
    if person is None or caller.auth_time is None:
        raise RoleRequired("your login proves no e-mail address")
    if not scopes:
        raise InvalidRequest("a delegation names its scopes")
    if lasts > broker.limits.longest_delegation:
        raise InvalidTtl("the delegation is longer than delegations may be")
    for scope in scopes:
        broker.rules().catalogue.check_bound(scope)
    with broker.store.transaction() as tx:
        to = tx.agent(agent) or tx.agent_named(agent)
        if to is None:
            raise NotFound("there is no such agent")
        offer = Offer(to.id, scopes, lasts)
        _fresh(broker, tx, caller, offer, to)
    _use_up(broker, caller, offer, to)
    with broker.store.transaction() as tx:
        tx.hold_barrier()
        if tx.kills_over(reach_of_person(Reach(), person)):
            raise Killed()
        given = new_delegation(broker, tx, person, offer, LOGIN)
        tx.add_delegation(given)
        tx.record(delegation_fact(FactKind.DELEGATION_GIVEN, given, str(caller.principal)))
    return SeenDelegation(given, to.name, live=True)


def withdraw_delegation(broker: Broker, caller: Caller, delegation_id: str) -> SeenDelegation:
    """Take it back: every task that rests on it ends, with all below it; twice changes nothing.

    The person or an operator may, with the login they have. Raises NotFound, RoleRequired.
    """
    with broker.store.transaction() as tx:
        found = tx.delegation(delegation_id, lock=True)
        if found is None or not _sees(caller, found):
            raise NotFound()
        if not (found.person.is_same(caller) or "operator" in caller.roles):
            raise RoleRequired("the person who gave it or an operator takes it back")
        by = str(caller.principal)
        withdrawn = found.withdrawn(by, tx.now())
        if withdrawn is not found:
            tx.save_delegation(withdrawn)
            tx.record(delegation_fact(FactKind.DELEGATION_WITHDRAWN, withdrawn, by))
        ended = _end_what_rests_on(tx, withdrawn, by)
        leases = [lease for task in ended for lease in leases_below(tx, task)]
        seen = _seen(tx, withdrawn)
    settle(broker, [lease.id for lease in leases if lease.state is not LeaseState.ENDED])
    return seen


def delegations(broker: Broker, caller: Caller) -> list[SeenDelegation]:
    """The newest: one's own, those given to the calling agent, or all for who sees all."""
    agent_id = caller.agent_id
    person = None if agent_id or caller.roles & SEES_ALL else str(caller.principal)
    with broker.store.transaction() as tx:
        found = {one.id: one for one in tx.delegations(person, agent_id)}
        if person is not None and caller.email:
            by_address = tx.delegations(caller.email.casefold(), None)
            found |= {one.id: one for one in by_address}
        return [_seen(tx, found[name]) for name in sorted(found, reverse=True)]


def delegation(broker: Broker, caller: Caller, delegation_id: str) -> SeenDelegation:
    """One delegation. Raises NotFound."""
    with broker.store.transaction() as tx:
        found = tx.delegation(delegation_id)
        if found is None or not _sees(caller, found):
            raise NotFound()
        return _seen(tx, found)


def lets_act(broker: Broker, person: str, agent_id: str) -> bool:
    """Whether a person (principal as one text) lets an agent act for them now, for anything."""
    with broker.store.transaction() as tx:
        given = tx.delegations(person, agent_id)
        return any(one.person.principal == person and one.is_live(tx.now()) for one in given)


def tasks_for(broker: Broker, caller: Caller, person: str) -> list[Task]:
    """The newest tasks that act for a person: `me`, or an address for who sees all.

    Raises RoleRequired.
    """
    with broker.store.transaction() as tx:
        names = _principals(tx, caller, person)
        found = {task.id: task for name in names for task in tx.tasks_for(name)}
    return [found[name] for name in sorted(found, reverse=True)]


def leases_for(broker: Broker, caller: Caller, person: str, state: str | None) -> list[Lease]:
    """The newest leases of such tasks, of a state. Raises RoleRequired."""
    with broker.store.transaction() as tx:
        names = _principals(tx, caller, person)
        found = {lease.id: lease for name in names for lease in tx.leases_for(name)}
    newest = (found[name] for name in sorted(found, reverse=True))
    return [lease for lease in newest if state in (None, lease.state.value)]


def _principals(tx: Transaction, caller: Caller, person: str) -> set[str]:
    """The principals that a person gave delegations as; an agent sees nothing of it."""
    if person == "me" and caller.kind == "person":
        return {str(caller.principal)}
    if not caller.roles & SEES_ALL:
        raise RoleRequired("others than you are seen by operators and auditors")
    return {one.person.principal for one in tx.delegations(person.casefold(), None)}


def _end_what_rests_on(tx: Transaction, withdrawn: Delegation, by: str) -> list[Task]:
    """End its tasks; no other can begin, for who opens one holds the delegation meanwhile."""
    resting = tx.open_tasks_on(withdrawn.id)
    locked = [tx.task(task.id, lock=True) for task in resting]
    held = [task for task in locked if task is not None]
    close_tasks(tx, held, "delegation_withdrawn", by)
    return held


def _fresh(broker: Broker, tx: Transaction, caller: Caller, offer: Offer, to: Agent) -> None:
    """A login made for exactly this, no older than the limit; its refusal says what it would be."""
    age = tx.now() - (caller.auth_time or tx.now())
    if caller.fresh_for != offer.fresh_name or age > broker.limits.fresh_login:
        raise _log_in_for(offer, to)


def _use_up(broker: Broker, caller: Caller, offer: Offer, to: Agent) -> None:
    """One login gives once: what was taken back since is not given again by the same one.

    Its own commit, before anything is given. Raises FreshLoginRequired.
    """
    at = caller.auth_time or broker.store.now()
    login = f"{caller.principal} {offer.fresh_name} {at.isoformat()}"
    if not broker.store.first_use("login", login, at + 2 * broker.limits.fresh_login):
        raise _log_in_for(offer, to)


def _log_in_for(offer: Offer, to: Agent) -> FreshLoginRequired:
    whom = {"agent_id": to.id, "agent": to.name, "fresh_for": offer.fresh_name}
    return FreshLoginRequired(extra=whom)


def _sees(caller: Caller, found: Delegation) -> bool:
    if caller.agent_id is not None:
        return caller.agent_id == found.agent_id
    return bool(caller.roles & SEES_ALL) or found.person.is_same(caller)


def _seen(tx: Transaction, found: Delegation) -> SeenDelegation:
    agent = tx.agent(found.agent_id)
    name = agent.name if agent else found.agent_id
    return SeenDelegation(found, name, found.is_live(tx.now()))
