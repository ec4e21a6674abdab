"""Ask for a credential: decide, and if nothing stands in the way, issue."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from valetkey.core.ask import Ask, GrantedTtl
from valetkey.core.errors import (
    AlreadyDecided,
    AlreadyDelivered,
    ApprovalTimedOut,
    ApprovalVoid,
    BrokerError,
    DeniedByPerson,
    DeniedByPolicy,
    IdempotencyMismatch,
    InProgress,
    PolicyBroken,
    RedeliveryRefused,
)
from valetkey.core.facts import FactKind
from valetkey.core.grant import KEY_LIVES, Grant, GrantState, approvals_by_group
from valetkey.core.kill import Reach, refuse_if_killed
from valetkey.core.lease import LIVE, LOST, Lease, LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.issue import issue
from valetkey.flows.recording import CLOCK, grant_fact, refusals_about
from valetkey.flows.revoke import mark_ending
from valetkey.flows.sealing import sealed_again
from valetkey.flows.sweep import settle
from valetkey.flows.verdicts import Answer, Refused, Verdict, Waiting
from valetkey.flows.weigh import (
    Before,
    Weighed,
    as_approved,
    open_task,
    settle_verdict,
    weigh,
    write_lease,
)
from valetkey.ports import Broker, Standing, Transaction


def request_credential(
    broker: Broker, caller: Caller, ask: Ask, redeliver: str | None = None
) -> Answer:
    """Decide what the caller may have for this task and, if nothing stands in the way, mint it.

    `redeliver` names the lease whose answer was lost; it is ended, with proof, before another is
    made. Raises any BrokerError of the catalogue. Decisions, and what happened to a lease, are on
    record when it is raised; for the rest (`recorded` is False) `record_refusal` writes the fact.
    """
    with refusals_about(ask.task_id):
        within_token(caller, ask)
        caller.signed_for(ask.seal_to.thumbprint if ask.seal_to else None)
        if redeliver is not None:
            _end_lost(broker, caller, ask, redeliver)
        return issue(broker, lambda tx: _first(broker, tx, caller, ask, redeliver))


def within_token(caller: Caller, ask: Ask, grant_id: str | None = None) -> None:
    """Raise OutsideToken when the caller's token was given for other asks, or for less time.

    `grant_id` is that of a grant which the ask has already.
    """
    caller.bounds(ask.task_id, ask.scope, ask.renewable_for or ask.ttl, grant_id)


def _first(
    broker: Broker, tx: Transaction, caller: Caller, ask: Ask, redeliver: str | None
) -> Verdict:
    """The first transaction: an answer given before is not decided again."""
    standing = open_task(tx, caller, ask.task_id, str(ask.scope))
    earlier = _answered_before(tx, standing.task, ask, redeliver)
    if earlier is None:
        return settle_verdict(broker, tx, weigh(broker, tx, standing, ask), ask, caller)
    if earlier.ask_hash != ask.hash or earlier.requester_jkt != caller.jkt:
        raise IdempotencyMismatch()
    if earlier.state in {GrantState.WAITING, GrantState.APPROVED}:
        return Waiting(earlier)
    if earlier.state is not GrantState.GRANTED:
        return Refused(_as_it_was(earlier))
    return next_generation(broker, tx, standing, earlier, redeliver)


def _answered_before(
    tx: Transaction, task: Task, ask: Ask, redeliver: str | None
) -> Grant | None:
    """The grant of the ask's key; a day after its lease ended the key is free for another ask.

    Who names the lease whose answer was lost still means that one.
    """
    earlier = tx.grant_by_key(ask.task_id, ask.idempotency_key)
    if earlier is None or redeliver is not None:
        return earlier
    lease = tx.lease(earlier.lease_id or "")
    if lease is None or lease.ended_at is None or tx.now() - lease.ended_at < KEY_LIVES:
        return earlier
    forgotten = earlier.without_key()
    tx.save_grant(forgotten)
    tx.record(grant_fact(FactKind.KEY_FORGOTTEN, forgotten, task, CLOCK, "done"))
    return None


def next_generation(
    broker: Broker, tx: Transaction, standing: Standing, grant: Grant, redeliver: str | None
) -> Verdict:
    """A new lease under a grant that had one: only if that one never left, or provably ended.

    While its sealed answer is kept, that is given again, and nothing is made.
    """
    lease = tx.lease(grant.lease_id or "", lock=True)
    if lease is None:
        raise RedeliveryRefused()
    if redeliver is None and (again := sealed_again(tx, standing, lease, grant)) is not None:
        return again
    refuse_second_delivery(broker, tx, lease, redeliver)
    _refuse_too_many(broker, tx, grant)
    ask = asked_before(grant)
    weighed = weigh(broker, tx, standing, ask, said_before(tx, grant))
    weighed = _no_longer_than_first(tx, no_longer_than_granted(weighed, grant), grant)
    decision_id = broker.new_id("decision")
    tx.record_decision(decision_id, weighed.decision)
    if weighed.decision.outcome != "allow":
        why = "policy no longer allows this without a new approval"
        return Refused(RedeliveryRefused(why, decision_id=decision_id))
    shown = grant.shown
    if shown is not None and not as_approved(broker, weighed, grant, shown.get("binding")):
        why = "what was approved is not what would be given now"
        return Refused(RedeliveryRefused(why, decision_id=decision_id))
    grant = replace(grant, decision_id=decision_id)
    return write_lease(broker, tx, weighed, grant, tx.save_grant)


def refuse_second_delivery(
    broker: Broker, tx: Transaction, lease: Lease, redeliver: str | None
) -> None:
    """Raise unless the earlier lease cannot have been delivered, or its end is proven."""
    lease_id = {"lease_id": lease.id, "lease_state": lease.state.value}
    if lease.state is LeaseState.MINTING:
        raise InProgress(retry_after=2, extra=lease_id)
    if lease.activated_at is None:
        return
    if redeliver is None:
        recent = tx.now() - lease.activated_at
        if lease.state in LIVE and recent < broker.limits.answered_moments_ago:
            raise InProgress(retry_after=2, extra=lease_id)
        raise AlreadyDelivered(extra=lease_id)
    if redeliver != lease.id:
        raise RedeliveryRefused("that is not the latest lease of this request", extra=lease_id)
    if lease.end_reason not in LOST:
        raise RedeliveryRefused("its answer was not lost: it was ended", extra=lease_id)
    refuse_if_killed(tx.kills_over(reach := Reach(lease_id=lease.id)), reach)
    if lease.state is not LeaseState.ENDED:
        raise RedeliveryRefused(retry_after=5, extra=lease_id)
    if lease.proof is Proof.WRITTEN_OFF:
        raise RedeliveryRefused("it was written off: nobody has proven its end", extra=lease_id)


def asked_before(grant: Grant) -> Ask:
    """The ask that a grant came from."""
    return Ask(
        grant.task_id,
        Scope.parse(grant.scope),
        grant.granted_ttl,
        grant.reason,
        grant.idempotency_key,
        grant.renewable_for,
        grant.seal_to,
    )


def said_before(tx: Transaction, grant: Grant, since: datetime | None = None) -> Before:
    """How many people of each group said yes to this grant; since when its credential is out."""
    return Before(approvals_by_group(grant.needs, tuple(tx.approvals(grant.id))), since)


def no_longer_than_granted(weighed: Weighed, grant: Grant) -> Weighed:
    """The grant's own TTL is a ceiling; it keeps the name of the rule that cut it."""
    if weighed.ttl.ttl < grant.granted_ttl:
        return weighed
    return replace(weighed, ttl=GrantedTtl(grant.granted_ttl, grant.cut_by))


def _no_longer_than_first(tx: Transaction, weighed: Weighed, grant: Grant) -> Weighed:
    """A grant's time begins when its first credential is handed out; another wins none.

    Raises RedeliveryRefused when it is over.
    """
    ends = [lease.renewable_until or lease.expires_at for lease in _delivered(tx, grant)]
    if not ends:
        return weighed
    left = timedelta(seconds=math.ceil((min(ends) - weighed.now).total_seconds()))
    if left <= timedelta(0):
        raise RedeliveryRefused("the time that was granted is over")
    life = min(weighed.life, left) if weighed.life is not None else None
    ttl = weighed.ttl if weighed.ttl.ttl <= left else GrantedTtl(left, "grant")
    return replace(weighed, ttl=ttl, life=life)


def end_lost(
    broker: Broker, tx: Transaction, caller: Caller, grant: Grant | None, lease_id: str
) -> None:
    """Mark the lease whose answer was lost as ending; only its grant's latest can be lost."""
    lease = tx.lease(lease_id, lock=True)
    if grant is None or lease is None or grant.lease_id != lease.id:
        raise RedeliveryRefused("that is not the latest lease of this request")
    _refuse_too_many(broker, tx, grant)
    mark_ending(tx, [lease], "redelivered", str(caller.principal))


def _refuse_too_many(broker: Broker, tx: Transaction, grant: Grant) -> None:
    """Only what may have reached the asker counts; a mint that failed took nothing from anybody."""
    if len(_delivered(tx, grant)) > broker.limits.redeliveries:
        raise RedeliveryRefused("a grant is redelivered three times at most")


def _delivered(tx: Transaction, grant: Grant) -> list[Lease]:
    """The leases of a grant whose credentials may have been handed out."""
    return [x for x in tx.leases_of_grant(grant.id) if x.activated_at is not None]


def _end_lost(broker: Broker, caller: Caller, ask: Ask, lease_id: str) -> None:
    """End the lease whose answer was lost, and wait a little for the proof."""
    with broker.store.transaction() as tx:
        open_task(tx, caller, ask.task_id)
        earlier = tx.grant_by_key(ask.task_id, ask.idempotency_key)
        if earlier and (earlier.requester_jkt, earlier.ask_hash) != (caller.jkt, ask.hash):
            raise IdempotencyMismatch()
        end_lost(broker, tx, caller, earlier, lease_id)
    settle(broker, [lease_id])


def _as_it_was(grant: Grant) -> BrokerError:
    """The refusal of an earlier answer, again."""
    refusals: dict[GrantState, type[BrokerError]] = {
        GrantState.DENIED: DeniedByPerson,
        GrantState.TIMED_OUT: ApprovalTimedOut,
        GrantState.VOID: ApprovalVoid,
        GrantState.WITHDRAWN: AlreadyDecided,
    }
    refusal = refusals.get(grant.state, DeniedByPolicy)
    if grant.refusal_code == PolicyBroken.code:
        refusal = PolicyBroken
    return refusal(decision_id=grant.decision_id)
