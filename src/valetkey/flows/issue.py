"""From a decision to a secret. Both commits stand here, and between them the outside call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from valetkey.core.errors import (
    BrokerError,
    Killed,
    LeaseEnded,
    MintedTooLong,
    NotAsked,
    NotFound,
    OutcomeUnknown,
)
from valetkey.core.facts import FactKind
from valetkey.core.lease import REAPPEARED, Lease, LeaseState, Proof
from valetkey.core.words import is_known
from valetkey.flows.recording import lease_fact
from valetkey.flows.sealing import Made, keep, seal
from valetkey.flows.verdicts import Answer, Order, Refused, Sealed, Verdict, Waiting
from valetkey.ports import Broker, Minted, Standing, Transaction


def issue(broker: Broker, weigh: Callable[[Transaction], Verdict]) -> Answer:
    """Weigh, write, mint, and hand out only what is still wanted when it comes back."""
    with broker.store.transaction() as tx:  # commit 1: a row that remembers
        verdict = weigh(tx)
    broker.failpoint("issue.written")
    if isinstance(verdict, Refused):
        raise verdict.error
    if isinstance(verdict, Waiting | Sealed):
        return verdict
    made = seal(broker, verdict, mint(broker, verdict))  # outside any transaction
    broker.failpoint("issue.minted")
    with broker.store.transaction() as tx:  # commit 2: it is out, or it is on its way out
        lease, problem = _activate(broker, tx, verdict, made)
    broker.failpoint("issue.activated")
    tell_reappeared(broker, lease)
    if problem is not None:
        raise problem
    return made.answer(lease)


def mint(broker: Broker, order: Order) -> Minted:
    """Call the minter; whatever goes wrong, the credential may exist and is put to its end.

    That end is at once where the back end was surely not asked. Raises what the minter raises,
    with the lease's id; a defect of its own is OutcomeUnknown.
    """
    lease = order.lease
    try:
        minter = broker.minter_of(lease.handle)
        return minter.mint(lease.handle, order.wanted, lease.granted_ttl, order.deadline)
    except BrokerError as problem:
        _put_to_its_end(broker, lease, problem)
        raise
    except Exception as defect:
        doubt = OutcomeUnknown(retry_after=5)
        _put_to_its_end(broker, lease, doubt)
        about = {"lease": lease.id, "target": lease.target, "problem": type(defect).__name__}
        broker.notifier.alarm("a minter broke while it minted", about)
        raise doubt from defect


def _put_to_its_end(broker: Broker, lease: Lease, problem: BrokerError) -> None:
    problem.extra = {"lease_id": lease.id, **problem.extra}
    with broker.store.transaction() as tx:
        current = tx.lease(lease.id, lock=True)
        if current is not None:
            doubtful = current.ending("mint_failed", tx.now())
            tx.record(lease_fact(FactKind.MINT_FAILED, doubtful, "issuer", problem.code))
            if current.state is LeaseState.MINTING:
                _end_doubt(tx, doubtful, certain=isinstance(problem, NotAsked))
    problem.recorded = True


def _end_doubt(tx: Transaction, doubtful: Lease, *, certain: bool) -> None:
    """Leave it to the sweep, unless it is certain that nothing of it was ever made."""
    over = doubtful.ended(Proof.NEVER_EXISTED, tx.now()) if certain else doubtful
    tx.save_lease(over)
    if certain:
        outcome = Proof.NEVER_EXISTED.value
        tx.record(lease_fact(FactKind.LEASE_ENDED, over, "issuer", outcome))


def _activate(
    broker: Broker, tx: Transaction, order: Order, made: Made
) -> tuple[Lease, BrokerError | None]:
    """Make it active if it is still wanted; otherwise leave it ending, due now.

    A lease that was ended while its mint was frozen is reopened: the answer says that it exists.
    """
    tx.hold_barrier()
    asked, minted = order.lease, made.minted
    standing = tx.standing(asked.task_id or "", asked.scope, asked.id)
    too_long = minted.usable(tx.now()) > asked.granted_ttl
    problem = no_longer_wanted(standing, tx.now(), too_long=too_long) or made.problem
    lease = tx.lease(order.lease.id, lock=True)
    if lease is None:
        raise NotFound()
    now = tx.now()
    prints = tuple(broker.fingerprint(part) for part in minted.secret.parts().values())
    until = now + minted.lifetime + minted.slack
    out = lease.activated(now, until, minted.back_ref, prints)
    if minted.fenced_at is not None:
        out = out.fenced(minted.fenced_at)
    if standing is not None:
        out = out.no_longer_than(standing.task.deadline_at)
    if lease.state is LeaseState.MINTING and problem is None:
        out = out.to_be_acknowledged(order.wanted.definition.ack_within)
        tx.save_lease(out)
        keep(tx, out, made)
        tx.record(lease_fact(FactKind.LEASE_MINTED, out, "issuer"))
        return out, None
    problem = problem or LeaseEnded()
    problem.extra = {"lease_id": lease.id, **problem.extra}
    problem.recorded = True
    return withhold(tx, lease, out, problem.code), problem


def withhold(tx: Transaction, lease: Lease, out: Lease, why: str) -> Lease:
    """Hand out nothing of what was minted for a lease, locked, and have it ended.

    `out` is the lease as it would have been handed out. If it was ended while the mint was frozen,
    it is reopened: the answer says that it exists. Who calls raises the alarm of that.
    """
    now = tx.now()
    if not is_known(lease.state):  # a newer version's, to be ended by it
        tx.record(lease_fact(FactKind.LEASE_WITHHELD, lease, "issuer", why))
        return lease
    never_out = replace(out, activated_at=None)
    withheld = never_out.ending(lease.end_reason or why, now)
    if lease.state is LeaseState.ENDED:
        withheld = never_out.reappeared(now)
        tx.record(lease_fact(FactKind.LEASE_REAPPEARED, withheld, "issuer", "reappeared"))
    tx.save_lease(withheld)
    tx.record(lease_fact(FactKind.LEASE_WITHHELD, withheld, "issuer", why))
    return withheld


def tell_reappeared(broker: Broker, lease: Lease) -> None:
    """Raise the alarm if this lease had ended before its mint was over."""
    if lease.end_reason == REAPPEARED:
        about = {"lease": lease.id, "target": lease.target}
        broker.notifier.alarm("an ended lease was found alive and is being ended again", about)


def no_longer_wanted(
    standing: Standing | None, now: datetime, *, too_long: bool
) -> BrokerError | None:
    """Why the credential may not be handed out after all; kills were read after the barrier."""
    if too_long:
        return MintedTooLong()
    if standing is None:
        return LeaseEnded()
    try:
        standing.holds(now)
    except BrokerError as ended:
        return ended
    return Killed() if standing.kills else None
