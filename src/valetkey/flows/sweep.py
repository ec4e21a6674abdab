"""Sweep: claim what is due, end it, record what happened. The only path by which a lease ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from valetkey.core.errors import BrokerError
from valetkey.core.facts import FactKind
from valetkey.core.lease import LIVE, Lease, LeaseState, Patience, Proof
from valetkey.flows.recording import CLOCK, lease_fact
from valetkey.flows.revoke import mark_ending
from valetkey.flows.tell_stuck import tell_stuck
from valetkey.ports import Broker, Denied, Ending, Gone, LivesUntil, Mine, Presence, Transaction


@dataclass(frozen=True)
class Tap:
    """What one attempt to end came to; `at` is when it was claimed, so no later than it began."""

    at: datetime
    ending: Ending
    presence: Presence


def sweep(broker: Broker, limit: int = 64, only: Sequence[str] = ()) -> int:
    """One pass: claim up to `limit` due leases (or only these) and start ending each.

    Claiming is writing the next due time; a worker that dies leaves a row that comes due again.
    Of a target that is left alone nothing is claimed but one lease now and then, to see whether it
    answers again; the rest stays due. Returns how many were claimed.
    """
    try:
        with broker.store.transaction() as tx:
            claimed = [_on_its_way(tx, lease) for lease in _claim(broker, tx, limit, only)]
    except Exception:
        _end_without_history(broker, limit, only)
        raise
    broker.failpoint("sweep.claimed")
    _start(broker, claimed)
    return len(claimed)


def _end_without_history(broker: Broker, limit: int, only: Sequence[str]) -> None:
    """Where no fact can be written, nothing starts to end; what already was still does.

    Whatever is live ends at its back end's own time meanwhile.
    """
    with broker.store.transaction() as tx:
        claimed = _claim(broker, tx, limit, only)
    _start(broker, [lease for lease in claimed if lease.state not in LIVE])


def _start(broker: Broker, claimed: Sequence[Lease]) -> None:
    for lease in claimed:
        broker.lanes.start(lease.target, partial(end_one, broker, lease))


def end_one(broker: Broker, lease: Lease) -> None:
    """End one claimed lease at its back end, look whether it is gone, and record the outcome."""
    try:
        lease = _looked_for(broker, lease)
        tap = _tap(broker, lease)
        broker.failpoint("sweep.tapped")
    except BrokerError as problem:
        _record_failure(broker, lease, f"{problem.code}: {problem.detail}")
        return
    except Exception as defect:
        _record_failure(broker, lease, f"defect: {type(defect).__name__}")
        raise
    with broker.store.transaction() as tx:
        current = _as_it_is(tx, lease)
        if current is None:
            return  # something else has moved it since; that will see to it
        after, kind = after_tap(current, tap, broker, tx.now())
        tx.save_lease(after)
        tx.record(lease_fact(kind, after, CLOCK, _outcome(after)))
        others = _cut_with(tx, after, tap.ending)
    if others:
        about = {"target": lease.target, "leases": str(len(others))}
        broker.notifier.alarm("there was no room to refuse one lease; all were cut", about)
    broker.failpoint("sweep.recorded")


def after_tap(lease: Lease, tap: Tap, broker: Broker, now: datetime) -> tuple[Lease, FactKind]:
    """What a lease becomes after one tap: ended only with a proof it has earned.

    A tap that began before the quiet time was over is a first tap, however late it is recorded.
    """
    ending, presence = tap.ending, tap.presence
    if not isinstance(ending, Gone):
        return _not_over(lease, ending, now)
    if presence is Presence.PRESENT:
        return _failed(broker, lease, "the target still knows it", now)
    if tap.at < lease.second_tap_at:
        return lease.tapped_once(), FactKind.LEASE_TAPPED
    if presence is Presence.UNKNOWN:
        proof = Proof.CONFIRMED
    else:
        proof = Proof.VERIFIED if lease.seen_outside else Proof.NEVER_EXISTED
    return lease.ended(proof, now), FactKind.LEASE_ENDED


def _not_over(lease: Lease, ending: LivesUntil | Denied, now: datetime) -> tuple[Lease, FactKind]:
    """What cannot be cut is waited for; refused at our word or not, only its time is its end."""
    until = ending.at if isinstance(ending, LivesUntil) else ending.until
    if now >= max(until, lease.backend_expires_at):
        return lease.ended(Proof.EXPIRED, now), FactKind.LEASE_ENDED
    if isinstance(ending, LivesUntil):
        return lease.waits_for_expiry(until), FactKind.LEASE_STILL_VALID
    return lease.denied(until, ending.how, now), FactKind.LEASE_DENIED


def settle(broker: Broker, lease_ids: Sequence[str]) -> None:
    """Work on these leases now, for a little while, until none is left unended."""
    deadline = broker.clock.deadline(broker.limits.settle)
    left = list(lease_ids)
    while left:
        sweep(broker, limit=len(left), only=left)
        broker.clock.wait(0.02 + len(left) / 5000)
        with broker.store.transaction() as tx:
            now = tx.now()
            leases = [tx.lease(lease_id) for lease_id in left]
        soon = now + broker.patience.claim
        alone = broker.lanes.shut()
        left = [x.id for x in leases if x is not None and _comes_soon(x, soon, alone)]
        if deadline.left() <= 0:
            return


def _comes_soon(lease: Lease, soon: datetime, alone: Sequence[str]) -> bool:
    """Worth waiting for: due within this time, and its target is called."""
    due_at = lease.due_at
    return due_at is not None and due_at <= soon and lease.target not in alone


def _claim(
    broker: Broker, tx: Transaction, limit: int, only: Sequence[str]
) -> Sequence[Lease]:
    """Claim no more than finds room: what is claimed and left undone waits out its claim.

    What a minter made that we do not have is another replica's, of a newer version perhaps; left
    due for as long as makes others stuck, it is called stuck here.
    """
    lanes, claim = broker.lanes, broker.patience.claim
    mine = Mine(tuple(broker.minters), broker.patience.stuck_after)
    alone = lanes.shut()
    fits = min(limit, lanes.room())
    claimed = [*tx.claim_due(fits, claim, only, [*lanes.full(), *alone], mine)]
    for target in lanes.trials() if alone and not only else ():
        claimed += tx.claim_due(1, claim, (), (), replace(mine, target=target))
    return claimed


def _on_its_way(tx: Transaction, lease: Lease) -> Lease:
    """A live lease that came due starts to end here; its claim time stays."""
    if lease.state not in LIVE:
        return lease
    reason = "expired" if lease.state is LeaseState.ACTIVE else "mint_abandoned"
    if lease.expires_at > tx.now() and lease.unacknowledged(tx.now()):
        reason = "unacknowledged"
    claimed_until = lease.due_at
    ending = lease.ending(reason, tx.now()).claimed(claimed_until)
    tx.save_lease(ending)  # claimed in this transaction, so its fence has not moved
    tx.record(lease_fact(FactKind.LEASE_ENDING, ending, CLOCK, reason))
    return replace(ending, fence=ending.fence + 1)


def _looked_for(broker: Broker, lease: Lease) -> Lease:
    """Outside any transaction: was it ever there? What was seen stays, should its end fail.

    Being unable to look keeps nothing from being ended, but then it may have been there. So it may
    when an earlier attempt left no word, which may have found and ended it, and when it is looked
    for so late that it may have ended by itself.
    """
    if lease.seen_outside:
        return lease
    may_have_expired = lease.due_at is not None and lease.due_at >= lease.expires_at
    if lease.tries > 1 or may_have_expired:
        return lease.seen()
    try:
        there = broker.minter_of(lease.handle).probe(lease.handle) is Presence.PRESENT
    except BrokerError:
        there = True
    return lease.seen() if there else lease


def _tap(broker: Broker, lease: Lease) -> Tap:
    """Outside any transaction: end it, and look whether it is still there."""
    minter = broker.minter_of(lease.handle)
    claimed_at = (lease.due_at or lease.created_at) - broker.patience.claim
    ending = minter.end(lease.handle, lease.backend_expires_at)
    presence = minter.probe(lease.handle) if isinstance(ending, Gone) else Presence.UNKNOWN
    return Tap(claimed_at, ending, presence)


def _as_it_is(tx: Transaction, worked_on: Lease) -> Lease | None:
    """The lease now, locked, with what we saw of it; None when more than a sweep touched it.

    Another sweep that claimed it since may have seen it, and may never say so.
    """
    current = tx.lease(worked_on.id, lock=True)
    if current is None or not current.only_claimed_since(worked_on):
        return None
    seen = worked_on.seen_outside or current.fence != worked_on.fence
    return current.seen() if seen else current


def _record_failure(broker: Broker, lease: Lease, problem: str) -> None:
    """Back off with jitter, for ever; say so when it becomes stuck, and as it ages."""
    with broker.store.transaction() as tx:
        current = _as_it_is(tx, lease)
        if current is None:
            return
        now = tx.now()
        after, kind = _failed(broker, current, problem, now)
        tx.save_lease(after)
        tx.record(lease_fact(kind, after, CLOCK, "failed"))
    tell_stuck(broker, after, now)


def _outcome(lease: Lease) -> str:
    """The proof of an end, else how it is refused, else that it is waited for."""
    said = lease.proof or lease.denied_how
    return said.value if said else "waits"


def _cut_with(tx: Transaction, lease: Lease, ending: Ending) -> Sequence[Lease]:
    """Without room to name one lease, all at its place that were made before are cut with it."""
    if not isinstance(ending, Denied) or ending.made_before is None or lease.place is None:
        return ()
    others = [x for x in tx.unended_at(lease.place) if x.created_at < ending.made_before]
    return mark_ending(tx, others, "cut_with_role", CLOCK)


def _failed(
    broker: Broker, lease: Lease, problem: str, now: datetime
) -> tuple[Lease, FactKind]:
    patience: Patience = broker.patience
    after = lease.failed(problem, now, patience, broker.jitter())
    newly = after.state is LeaseState.STUCK and lease.state is not LeaseState.STUCK
    return after, FactKind.LEASE_STUCK if newly else FactKind.LEASE_END_FAILED
