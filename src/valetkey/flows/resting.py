"""What a task on behalf of a person rests on: what they gave here, or what their token says."""

from __future__ import annotations

from dataclasses import replace

from valetkey.core.agent import Agent
from valetkey.core.errors import DelegationEnded, NotFound, OutsideDelegation
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import Reach
from valetkey.core.on_behalf import MAY_ACT, Delegation, Offer
from valetkey.core.principal import Acting, Caller, Person
from valetkey.core.scope import Scope
from valetkey.ports import Broker, Transaction


def rests_on(tx: Transaction, caller: Caller, agent: Agent, named: str) -> Delegation:
    """The delegation that is named, held so that nobody withdraws it meanwhile.

    Raises NotFound for one that was given to another agent, OutsideToken for that of another
    person than the caller's token is for.
    """
    found = tx.delegation(named, share=True)
    if found is None or found.agent_id != agent.id:
        raise NotFound()
    caller.acts_for(found.person.principal)
    return found


def chosen_for(
    broker: Broker, tx: Transaction, acting: Acting, agent: Agent, scopes: tuple[Scope, ...]
) -> Delegation:
    """What a token that acts for a person rests on: what they gave, or a new one by the token.

    Of several that cover the scopes the one that lasts longest. Raises OutsideDelegation, and
    DelegationEnded when the person took something back from this agent since they said so.
    """
    now = tx.now()
    given = tx.delegations(acting.person.principal, agent.id)
    fits = [one for one in given if one.is_live(now) and one.covers(scopes)]
    if fits:
        longest = max(fits, key=lambda one: (one.until, one.id))
        held = tx.delegation(longest.id, share=True)
        assert held is not None  # rows are never deleted
        return held
    if acting.until is None:
        raise OutsideDelegation()
    taken_back = (one.withdrawn_at for one in given if one.withdrawn_at is not None)
    if now >= acting.until or any(at >= acting.said_at for at in taken_back):
        raise DelegationEnded()
    offer = Offer(agent.id, scopes, acting.until - now)
    made = new_delegation(broker, tx, acting.person, offer, MAY_ACT)
    return replace(made, until=acting.until)


def new_delegation(
    broker: Broker, tx: Transaction, person: Person, offer: Offer, source: str
) -> Delegation:
    """What a person lets an agent do from now on; not written yet."""
    now = tx.now()
    return Delegation(
        id=broker.new_id("delegation"),
        person=person,
        agent_id=offer.agent_id,
        scopes=offer.scopes,
        given_at=now,
        until=now + offer.lasts,
        source=source,
    )


def reach_of_person(reach: Reach, person: Person | None) -> Reach:
    """The same, done on behalf of that person."""
    if person is None:
        return reach
    return replace(reach, person=person.principal, person_email=person.email)


def delegation_fact(kind: FactKind, delegation: Delegation, by: str) -> Fact:
    """A fact about a delegation; it is the person's, who finds it in their own history."""
    return Fact(
        kind=kind,
        by=by,
        agent_id=delegation.agent_id,
        owner=delegation.person.email,
        body={
            "delegation": delegation.id,
            "on_behalf_of": delegation.person.principal,
            "scopes": [str(scope) for scope in delegation.scopes],
            "until": delegation.until.isoformat(),
            "source": delegation.source,
        },
    )
