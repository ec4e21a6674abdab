"""Bugs planted on purpose, beside the real flows: what a simulator that works must find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from valetkey.core.errors import BrokerError, NotAsked
from valetkey.core.facts import FactKind
from valetkey.core.kill import Kill
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.principal import Caller
from valetkey.flows import issue as issuing
from valetkey.flows import renew as renewing
from valetkey.flows import sweep as sweeping
from valetkey.flows.recording import lease_fact
from valetkey.flows.sealing import Made
from valetkey.flows.verdicts import Issued, Order, Refused, Sealed, Verdict, Waiting
from valetkey.ports import Broker, Minted, Presence, Renewed, Standing, Transaction
from valetkey.testing.sim_locks import Key
from valetkey.testing.sim_store import BARRIER, SimStore, SimTransaction

# --- issuing ---------------------------------------------------------------------------------


def mints_before_it_commits(
    broker: Broker, weigh: Callable[[Transaction], Verdict]
) -> Issued | Waiting:
    """The mint runs inside the first transaction: a crash leaves a credential without a row."""
    with broker.store.transaction() as tx:
        verdict = weigh(tx)
        if isinstance(verdict, Order):
            minted = issuing.mint(broker, verdict)
    if not isinstance(verdict, Order):
        return _answered(verdict)
    with broker.store.transaction() as tx:
        lease, problem = issuing._activate(broker, tx, verdict, Made(minted))
    if problem is not None:
        raise problem
    return Issued(lease, minted.secret)


def activates_without_looking_again(
    broker: Broker, weigh: Callable[[Transaction], Verdict]
) -> Issued | Waiting:
    """What was wanted when it was written is taken to be wanted still: no task, no kill, no state."""
    return _issue(broker, weigh, lambda lease: True)


def activates_by_its_own_row_alone(
    broker: Broker, weigh: Callable[[Transaction], Verdict]
) -> Issued | Waiting:
    """The lease is looked at, the task and the kills are not."""
    return _issue(broker, weigh, lambda lease: lease.state is LeaseState.MINTING)


def takes_no_answer_for_no_question(
    broker: Broker, weigh: Callable[[Transaction], Verdict]
) -> Issued | Waiting:
    """Whatever went wrong with a mint, its lease is over at once, as if nobody had asked."""
    with broker.store.transaction() as tx:
        verdict = weigh(tx)
    if not isinstance(verdict, Order):
        return _answered(verdict)
    lease = verdict.lease
    try:
        minter, ttl = broker.minter_of(lease.handle), lease.granted_ttl
        minted = minter.mint(lease.handle, verdict.wanted, ttl, verdict.deadline)
    except BrokerError:
        issuing._put_to_its_end(broker, lease, NotAsked())
        raise
    with broker.store.transaction() as tx:
        out, problem = issuing._activate(broker, tx, verdict, Made(minted))
    if problem is not None:
        raise problem
    return Issued(out, minted.secret)


def _issue(
    broker: Broker, weigh: Callable[[Transaction], Verdict], still_wanted: Callable[[Lease], bool]
) -> Issued | Waiting:
    with broker.store.transaction() as tx:
        verdict = weigh(tx)
    if not isinstance(verdict, Order):
        return _answered(verdict)
    minted = issuing.mint(broker, verdict)
    with broker.store.transaction() as tx:
        lease = tx.lease(verdict.lease.id, lock=True)
        if lease is None or not still_wanted(lease):
            raise BrokerError("withheld")
        out = _out(tx, lease, minted)
    return Issued(out, minted.secret)


def _out(tx: Transaction, lease: Lease, minted: Minted) -> Lease:
    now = tx.now()
    out = lease.activated(now, now + minted.lifetime, minted.back_ref, ())
    tx.save_lease(out)
    tx.record(lease_fact(FactKind.LEASE_MINTED, out, "issuer"))
    return out


def _answered(verdict: Refused | Waiting) -> Waiting:
    if isinstance(verdict, Refused):
        raise verdict.error
    return verdict


# --- sealed answers --------------------------------------------------------------------------


def gives_again_what_is_kept(broker: Broker, caller: Caller, lease_id: str) -> Sealed:
    """As long as the ciphertext is there, whatever became of its lease."""
    with broker.store.transaction() as tx:
        kept, lease = tx.sealed(lease_id), tx.lease(lease_id)
        if kept is None or lease is None:
            raise BrokerError("not kept")
        tx.record(lease_fact(FactKind.SEALED_FETCHED, lease, "issuer"))
        return Sealed(lease, kept.sealed)


def gives_again_what_was_active(broker: Broker, caller: Caller, lease_id: str) -> Sealed:
    """The lease is looked at, the task and the kills are not."""
    with broker.store.transaction() as tx:
        kept, lease = tx.sealed(lease_id), tx.lease(lease_id, lock=True)
        if kept is None or lease is None or lease.state is not LeaseState.ACTIVE:
            raise BrokerError("not kept")
        tx.record(lease_fact(FactKind.SEALED_FETCHED, lease, "issuer"))
        return Sealed(lease, kept.sealed)


# --- the barrier -----------------------------------------------------------------------------


class _KillsWithTheLock(SimTransaction):
    """Kills are read in the statement that takes the barrier: as they were when it began."""

    early: Sequence[Kill] = ()

    def _take(self, key: Key, strength: int, *, fair: bool = False) -> bool:
        if key == BARRIER:
            self.early = [x for x in self.store.state.kills.values() if x.released_at is None]
        return super()._take(key, strength, fair=fair)

    def standing(
        self, task_id: str, target: str | None = None, lease_id: str | None = None
    ) -> Standing | None:
        standing = super().standing(task_id, target, lease_id)
        if standing is None:
            return None
        return replace(standing, kills=tuple(x for x in standing.kills if x in self.early))


class KillsReadWithTheirLock(SimStore):
    """Begins transactions with that bug."""

    def begin(self) -> SimTransaction:
        """One of them."""
        return _KillsWithTheLock(self)


class _NoBarrier(SimTransaction):
    def hold_barrier(self) -> None:
        self._statement("hold no barrier")


class NoBarrier(SimStore):
    """Nobody holds the barrier: the write skew."""

    def begin(self) -> SimTransaction:
        """One transaction."""
        return _NoBarrier(self)


# --- sweeping --------------------------------------------------------------------------------


def never_taps_twice(broker: Broker, limit: int = 64) -> int:
    """Every tap counts as one after the quiet time."""
    return _sweep(broker, limit, record=partial(_record, tapped_at=datetime.max.replace(tzinfo=UTC)))


def counts_a_tap_from_its_record(broker: Broker, limit: int = 64) -> int:
    """A tap is taken to be as late as its record, whatever was slept over in between."""
    return _sweep(broker, limit, record=_record)


def overwrites_what_moved_meanwhile(broker: Broker, limit: int = 64) -> int:
    """The outcome is written over the row, whoever has moved it since."""
    return _sweep(broker, limit, record=_overwrite)


def forgets_lost_words(broker: Broker, limit: int = 64) -> int:
    """An earlier attempt that left no word is taken never to have been."""
    return _sweep(broker, limit, looked_for=_looks_itself)


def _sweep(
    broker: Broker,
    limit: int,
    looked_for: Callable[[Broker, Lease], Lease] = sweeping._looked_for,
    record: Callable[..., None] | None = None,
) -> int:
    with broker.store.transaction() as tx:
        claimed = [sweeping._on_its_way(tx, x) for x in sweeping._claim(broker, tx, limit, ())]
    for lease in claimed:
        work = partial(_end_one, broker, lease, looked_for, record or _as_it_should)
        broker.lanes.start(lease.target, work)
    return len(claimed)


def _end_one(
    broker: Broker,
    lease: Lease,
    looked_for: Callable[[Broker, Lease], Lease],
    record: Callable[..., None],
) -> None:
    try:
        lease = looked_for(broker, lease)
        tap = sweeping._tap(broker, lease)
    except BrokerError as problem:
        sweeping._record_failure(broker, lease, problem.code)
        return
    with broker.store.transaction() as tx:
        record(broker, tx, lease, tap)


def _as_it_should(broker: Broker, tx: Transaction, lease: Lease, tap: sweeping.Tap) -> None:
    _record(broker, tx, lease, tap, tapped_at=tap.at)


def _record(
    broker: Broker,
    tx: Transaction,
    lease: Lease,
    tap: sweeping.Tap,
    tapped_at: datetime | None = None,
) -> None:
    current = sweeping._as_it_is(tx, lease)
    if current is not None:
        tap = replace(tap, at=tapped_at or tx.now())
        _write(tx, *sweeping.after_tap(current, tap, broker, tx.now()))


def _overwrite(broker: Broker, tx: Transaction, lease: Lease, tap: sweeping.Tap) -> None:
    current = tx.lease(lease.id, lock=True)
    if current is not None and current.state is not LeaseState.ENDED:
        mine = replace(lease, fence=current.fence)
        _write(tx, *sweeping.after_tap(mine, tap, broker, tx.now()))


def _write(tx: Transaction, after: Lease, kind: FactKind) -> None:
    tx.save_lease(after)
    tx.record(lease_fact(kind, after, sweeping.CLOCK))


def _looks_itself(broker: Broker, lease: Lease) -> Lease:
    if lease.seen_outside:
        return lease
    there = broker.minter_of(lease.handle).probe(lease.handle) is Presence.PRESENT
    return lease.seen() if there else lease


# --- renewing --------------------------------------------------------------------------------


def renews_before_it_writes(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """The back end is asked while the record still says the old end."""
    with broker.store.transaction() as tx:
        order = renewing._extend_record(broker, tx, caller, lease_id)
        assert isinstance(order, renewing.Renewal)
        renewed = _asked(broker, order)
    return _settled(broker, order, renewed)


def shortens_what_it_does_not_know(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """A renewal without an answer is taken not to have been made."""
    with broker.store.transaction() as tx:
        order = renewing._extend_record(broker, tx, caller, lease_id)
    assert isinstance(order, renewing.Renewal)
    try:
        renewed = _asked(broker, order)
    except BrokerError:
        with broker.store.transaction() as tx:
            lease = tx.lease(lease_id, lock=True)
            assert lease is not None
            if lease.state is LeaseState.ACTIVE:
                tx.save_lease(lease.renewal_over(order.before, order.before.backend_expires_at))
        raise
    return _settled(broker, order, renewed)


def renews_what_it_read_before(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """The lease is told to live on, whatever became of it meanwhile: no state, no task, no kill."""
    with broker.store.transaction() as tx:
        order = renewing._extend_record(broker, tx, caller, lease_id)
    assert isinstance(order, renewing.Renewal)
    renewed = renewing._renew(broker, order)
    with broker.store.transaction() as tx:
        lease = tx.lease(lease_id, lock=True)
        assert lease is not None
        known = order.lease.renewal_over(order.before, tx.now() + renewed.lifetime)
        out = replace(known.renewed(order.until), fence=lease.fence)
        tx.save_lease(out)
        tx.record(lease_fact(FactKind.LEASE_RENEWED, out, "issuer"))
    return out


def _asked(broker: Broker, order: renewing.Renewal) -> Renewed:
    handle = order.lease.handle
    return broker.minter_of(handle).renew(handle, "", order.ttl, order.deadline)


def _settled(broker: Broker, order: renewing.Renewal, renewed: Renewed) -> Lease:
    with broker.store.transaction() as tx:
        lease, problem = renewing._settle(tx, order, renewed)
    if problem is not None:
        raise problem
    return lease
