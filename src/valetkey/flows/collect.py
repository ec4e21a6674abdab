"""Collect an approved grant: the whole first transaction again, under the current policy."""

from __future__ import annotations

from dataclasses import replace

from valetkey.core.decision import Outcome
from valetkey.core.errors import ApprovalVoid, BrokerError, NotFound
from valetkey.core.facts import FactKind
from valetkey.core.grant import Grant, GrantState
from valetkey.core.principal import Caller
from valetkey.flows.issue import issue
from valetkey.flows.recording import grant_fact
from valetkey.flows.request_credential import (
    asked_before,
    end_lost,
    next_generation,
    no_longer_than_granted,
    said_before,
    within_token,
)
from valetkey.flows.sweep import settle
from valetkey.flows.verdicts import Answer, Refused, Verdict
from valetkey.flows.weigh import Weighed, as_approved, open_task, weigh, write_lease
from valetkey.ports import Broker, Standing, Transaction


def collect(broker: Broker, caller: Caller, grant_id: str, redeliver: str | None = None) -> Answer:
    """Mint what was approved, once, for the key that asked.

    Raises StillWaiting, DeniedByPerson, ApprovalTimedOut, ApprovalVoid, and what `request` does.
    """
    if redeliver is not None:
        with broker.store.transaction() as tx:
            end_lost(broker, tx, caller, _own(tx, caller, grant_id)[0], redeliver)
        settle(broker, [redeliver])
    return issue(broker, lambda tx: _first(broker, tx, caller, grant_id, redeliver))


def _first(
    broker: Broker, tx: Transaction, caller: Caller, grant_id: str, redeliver: str | None
) -> Verdict:
    grant, standing = _own(tx, caller, grant_id)
    if grant.state is GrantState.GRANTED:
        return next_generation(broker, tx, standing, grant, redeliver)
    grant.may_be_collected(tx.now())
    weighed = weigh(broker, tx, standing, asked_before(grant), said_before(tx, grant))
    weighed = no_longer_than_granted(weighed, grant)
    by = str(caller.principal)
    decision_id = broker.new_id("decision")
    tx.record_decision(decision_id, weighed.decision)
    if not _still_what_was_approved(broker, weighed, grant, caller):
        tx.save_grant(grant.moved(GrantState.VOID))
        error: BrokerError = ApprovalVoid(decision_id=decision_id)
        void = replace(grant, decision_id=decision_id)
        tx.record(grant_fact(FactKind.GRANT_VOIDED, void, weighed.task, by, error.code))
        error.recorded = True
        return Refused(error)
    collected = replace(grant, state=GrantState.GRANTED, decision_id=decision_id)
    tx.record(grant_fact(FactKind.GRANT_COLLECTED, collected, weighed.task, by, "allow"))
    return write_lease(broker, tx, weighed, collected, tx.save_grant)


def _own(tx: Transaction, caller: Caller, grant_id: str) -> tuple[Grant, Standing]:
    """The caller's own grant, locked; its task first, as everywhere, so that nobody deadlocks."""
    grant = tx.grant(grant_id)
    if grant is None or (grant.agent_id, grant.requester_jkt) != (caller.agent_id, caller.jkt):
        raise NotFound()
    within_token(caller, asked_before(grant), grant.id)
    standing = open_task(tx, caller, grant.task_id, grant.scope)
    return tx.grant(grant_id, lock=True) or grant, standing


def _still_what_was_approved(
    broker: Broker, weighed: Weighed, grant: Grant, caller: Caller
) -> bool:
    """The outcome and the hash of what people saw must both be what they were."""
    allowed = weighed.decision.outcome is Outcome.ALLOW
    return allowed and as_approved(broker, weighed, grant, caller.binding_id)
