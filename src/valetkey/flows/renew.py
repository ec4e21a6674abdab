"""Renew: the same credential, alive for longer. Both commits stand here, and the call between.

The record is extended before the back end and shortened after it, so that whatever is lost on the
way, the record never says less than what is outside. When we act moves only once the back end has
said yes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from valetkey.core.decision import Outcome
from valetkey.core.errors import (
    BrokerError,
    InProgress,
    Killed,
    LeaseEnded,
    MintedTooLong,
    NotFound,
    NotRenewable,
    OutcomeUnknown,
)
from valetkey.core.facts import FactKind
from valetkey.core.grant import Grant
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.principal import Caller
from valetkey.flows.admit import may_call
from valetkey.flows.deciding import refusal_of
from valetkey.flows.issue import no_longer_wanted
from valetkey.flows.recording import lease_fact, refusals_about
from valetkey.flows.request_credential import asked_before, said_before, within_token
from valetkey.flows.verdicts import Refused
from valetkey.flows.weigh import Weighed, open_task, weigh
from valetkey.ports import Broker, Deadline, Renewed, Transaction

UNTOLD = "the renewal may have been made or not; the credential is ended when it would have been"


@dataclass(frozen=True)
class Renewal:
    """Allowed, and written: `lease` is to live until then; `before` is how it stood.

    `ttl` is the time until then in whole seconds, up: what the back end is asked for.
    """

    before: Lease
    lease: Lease
    until: datetime
    ttl: timedelta
    deadline: Deadline


def renew(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """Let the caller's own lease live for another TTL, as far as every ceiling goes.

    Raises NotRenewable, InProgress, DeniedByPolicy and what `request_credential` does; whatever
    is raised, the lease ends when it would have, or sooner.
    """
    with broker.store.transaction() as tx:  # commit 1: the record says the longest it may come to
        verdict = _extend_record(broker, tx, caller, lease_id)
    broker.failpoint("renew.written")
    if isinstance(verdict, Refused):
        raise verdict.error
    renewed = _renew(broker, verdict)  # outside any transaction
    broker.failpoint("renew.renewed")
    with broker.store.transaction() as tx:  # commit 2: it lives on, or it is on its way out
        lease, problem = _settle(tx, verdict, renewed)
    if problem is not None:
        raise problem
    return lease


def _extend_record(
    broker: Broker, tx: Transaction, caller: Caller, lease_id: str
) -> Renewal | Refused:
    """Decide again, under the rules of now and with the yeses there were, and write it down."""
    seen, grant = _own(tx, caller, lease_id)
    by = str(caller.principal)
    with refusals_about(grant.task_id):
        within_token(caller, asked_before(grant), grant.id)
        standing = open_task(tx, caller, grant.task_id, grant.scope, seen.id)
        lease = tx.lease(seen.id, lock=True) or seen
        if lease.state is not LeaseState.ACTIVE:
            raise Killed() if standing.kills else LeaseEnded("the lease is not active any more")
        before = said_before(tx, grant, lease.activated_at)
        weighed = weigh(broker, tx, standing, asked_before(grant), before)
        until = renewed_until(lease, weighed)
    decision_id = broker.new_id("decision")
    tx.record_decision(decision_id, weighed.decision)
    if weighed.decision.outcome is not Outcome.ALLOW:
        error = refusal_of(weighed.decision, decision_id)
        denied = lease_fact(FactKind.RENEWAL_FAILED, lease, by, error.code)
        tx.record(replace(denied, decision_id=decision_id))
        error.recorded = True
        return Refused(error)
    with refusals_about(grant.task_id):
        may_call(broker, lease.target)  # asked last: of a target left alone it takes the trial
    ttl = timedelta(seconds=math.ceil((until - weighed.now).total_seconds()))
    at_most = broker.minter_of(lease.handle).longest_life(ttl)
    longer = lease.renewing(weighed.now, at_most, broker.patience)
    tx.save_lease(longer)
    begun = lease_fact(FactKind.LEASE_RENEWING, longer, by)
    tx.record(replace(begun, decision_id=decision_id))
    return Renewal(lease, longer, until, ttl, weighed.mint_by)


def _own(tx: Transaction, caller: Caller, lease_id: str) -> tuple[Lease, Grant]:
    """The caller's own lease and its grant, not locked yet: the task comes first, as everywhere."""
    lease = tx.lease(lease_id)
    grant = tx.grant(lease.grant_id or "") if lease else None
    if lease is None or grant is None:
        raise NotFound()
    if (grant.agent_id, grant.requester_jkt) != (caller.agent_id, caller.jkt):
        raise NotFound()
    return lease, grant


def renewed_until(lease: Lease, weighed: Weighed) -> datetime:
    """Until when a renewal may keep it alive now, below every ceiling.

    Raises NotRenewable when it was not asked for, comes too late, or would win nothing.
    """
    if lease.renewable_until is None or lease.activated_at is None or weighed.life is None:
        raise NotRenewable("it was not asked for with `renewable_for`")
    if lease.renew_by is None:
        raise NotRenewable("it lives as long as its renewals may keep it alive")
    if weighed.now >= lease.renew_by:
        raise NotRenewable("it is too late: it ends in a moment")
    until = min(lease.renewable_until, lease.activated_at + weighed.life)
    until = min(until, weighed.now + weighed.ttl.ttl)
    if until <= lease.expires_at:
        raise NotRenewable("now it would not live longer than it does")
    return until


def _renew(broker: Broker, order: Renewal) -> Renewed:
    """Call the minter; whatever goes wrong, it may have been renewed, and the record stays long."""
    lease = order.lease
    try:
        minter = broker.minter_of(lease.handle)
        return minter.renew(lease.handle, lease.back_ref or "", order.ttl, order.deadline)
    except OutcomeUnknown as doubt:
        raise _on_record(broker, lease, OutcomeUnknown(UNTOLD, retry_after=2)) from doubt
    except BrokerError as problem:
        raise _on_record(broker, lease, problem) from None
    except Exception as defect:
        about = {"lease": lease.id, "target": lease.target, "problem": type(defect).__name__}
        broker.notifier.alarm("a minter broke while it renewed", about)
        raise _on_record(broker, lease, OutcomeUnknown(UNTOLD, retry_after=5)) from defect


def _on_record(broker: Broker, lease: Lease, problem: BrokerError) -> BrokerError:
    problem.extra = {"lease_id": lease.id, **problem.extra}
    with broker.store.transaction() as tx:
        current = tx.lease(lease.id, lock=True) or lease
        tx.record(lease_fact(FactKind.RENEWAL_FAILED, current, "issuer", problem.code))
    problem.recorded = True
    return problem


def _settle(
    tx: Transaction, order: Renewal, renewed: Renewed
) -> tuple[Lease, BrokerError | None]:
    """Let it live on if it is still wanted; otherwise it is on its way out, due now.

    Who finds that another renewal has begun since leaves the record to that one. A lease that
    ended while its renewal was frozen is reopened: the answer says that it exists.
    """
    tx.hold_barrier()
    asked = order.before
    standing = tx.standing(asked.task_id or "", asked.scope, asked.id)
    too_long = renewed.lifetime > order.ttl
    problem = no_longer_wanted(standing, tx.now(), too_long=too_long)
    lease = tx.lease(asked.id, lock=True)
    if lease is None:
        raise NotFound()
    now = tx.now()
    alone = lease.renewals == order.lease.renewals
    real = now + renewed.lifetime + renewed.slack
    known = lease.renewal_over(asked, real) if alone else lease
    if problem is None and lease.state is LeaseState.ACTIVE and alone:
        out = known.renewed(min(now + renewed.lifetime, order.until))
        if standing is not None:
            out = out.no_longer_than(standing.task.deadline_at)
        tx.save_lease(out)
        tx.record(lease_fact(FactKind.LEASE_RENEWED, out, "issuer"))
        return out, None
    return _told_no(tx, lease, known, problem)


def _told_no(
    tx: Transaction, lease: Lease, known: Lease, problem: BrokerError | None
) -> tuple[Lease, BrokerError]:
    """Nothing is won: what must not live is ending, now; what else renews it is left alone."""
    now = tx.now()
    if isinstance(problem, MintedTooLong):
        problem = MintedTooLong("the back end renewed for longer than allowed; it is being ended")
    if problem is None:
        alive = lease.state is LeaseState.ACTIVE
        problem = InProgress(retry_after=2) if alive else LeaseEnded("it was ended meanwhile")
    after, kind = known, FactKind.RENEWAL_FAILED
    if lease.state is LeaseState.ENDED:
        after, kind = known.reappeared(now), FactKind.LEASE_REAPPEARED
    elif not isinstance(problem, InProgress):
        after = known.looked_at_now(problem.code, now)
    if after != lease:
        tx.save_lease(after)
    tx.record(lease_fact(kind, after, "issuer", problem.code))
    problem.extra = {"lease_id": lease.id, **problem.extra}
    problem.recorded = True
    return after, problem
