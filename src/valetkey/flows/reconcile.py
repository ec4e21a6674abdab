"""Reconcile: compare our leases with what really exists outside, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from valetkey.core.ask import LONGEST_TTL, canonical_hash
from valetkey.core.errors import BrokerError
from valetkey.core.facts import Fact, FactKind
from valetkey.core.ids import LeaseId, lease_id_of
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.recording import lease_fact
from valetkey.flows.sweep import CLOCK
from valetkey.ports import Broker, Found, Presence, Transaction

AGAIN = timedelta(hours=1)


@dataclass
class Comparison:
    """What one comparison found, by lease id; `held` says why nothing was done about it."""

    seen: int = 0
    foreign: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    reappeared: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    held: str | None = None
    problem: str | None = None


def reconcile(broker: Broker, minter_name: str, *, act_anyway: bool = False) -> Comparison:
    """Compare one minter's objects with our leases, and act unless the difference is suspicious.

    A restored backup on either side shows as a large difference: then it only reports, until a
    human asks with `act_anyway`. Replicas that do it at once see the same and act once.
    """
    outcome = Comparison()
    with broker.store.transaction() as tx:
        live = [x for x in tx.active_leases() if x.handle.minter == minter_name]
    try:  # outside any transaction, and after reading what lives
        outside = {found.handle.name: found for found in broker.minters[minter_name].found()}
    except BrokerError as problem:
        outcome.problem = problem.code
        return outcome
    outcome.seen = len(outside)
    ours = [x for x in outside.values() if x.installation == broker.installation]
    outcome.foreign = sorted(outside.keys() - {x.handle.name for x in ours})
    missing = [x for x in live if x.handle.name not in outside]
    with broker.store.transaction() as tx:
        odd = [found for found in ours if _is_odd(tx, found)]
    outcome.held = None if act_anyway else _suspicious(broker, len(odd), missing, live)
    _act(broker, outcome, odd, missing, minter_name)
    return outcome


def _is_odd(tx: Transaction, found: Found) -> bool:
    """Out there for a lease that has ended, or that nobody knows."""
    _, lease = lease_behind(tx, found)
    return lease is None or lease.state is LeaseState.ENDED


def lease_behind(
    tx: Transaction, found: Found, *, lock: bool = False
) -> tuple[LeaseId, Lease | None]:
    """The lease of an object, and the id under which there is one, or would be.

    Whoever has our logins at the back end may borrow the mark of a lease that lives, for a role of
    another scope. Such a role has another name than that lease's, and gets a lease of its own.
    """
    lease = tx.lease(found.lease_id, lock=lock)
    if lease is None or lease.handle.name == found.handle.name:
        return found.lease_id, lease
    own = lease_id_of(found.handle.name)
    return own, tx.lease(own, lock=lock)


def _still_there(broker: Broker, minter_name: str, odd: Sequence[Found]) -> Sequence[Found]:
    """Without what was only ended while we compared; what cannot be looked at now comes again."""
    if not odd:
        return odd
    try:
        there = {found.handle.name for found in broker.minters[minter_name].found()}
    except BrokerError:
        return []
    return [found for found in odd if found.handle.name in there]


def _is_absent(broker: Broker, minter_name: str, lease: Lease) -> bool:
    """We looked, and it is not there; what cannot be looked at now keeps nothing else waiting."""
    try:
        return broker.minters[minter_name].probe(lease.handle) is Presence.ABSENT
    except BrokerError:
        return False


def _suspicious(
    broker: Broker, odd: int, missing: Sequence[Lease], live: Sequence[Lease]
) -> str | None:
    """Why this difference waits for a human; small differences never do."""
    limits = broker.limits
    different = odd + len(missing)
    if different <= limits.reconcile_floor:
        return None
    if different > limits.reconcile_share * max(len(live), 1):
        return f"{odd} unknown and {len(missing)} missing of {len(live)}: was a backup restored?"
    return None


def _act(
    broker: Broker,
    outcome: Comparison,
    odd: Sequence[Found],
    missing: Sequence[Lease],
    minter_name: str,
) -> None:
    if outcome.foreign:
        _tell(broker, FactKind.FOREIGN_MARK_SEEN, minter_name, {"names": outcome.foreign[:50]})
    if outcome.held is not None:
        if _tell(broker, FactKind.RECONCILE_HELD, minter_name, {"why": outcome.held}):
            broker.notifier.alarm("reconcile waits for a human", {"why": outcome.held})
        return
    for found in _still_there(broker, minter_name, odd):
        with broker.store.transaction() as tx:
            _reopen_or_adopt(broker, tx, found, outcome)
    for lease in missing:
        if not _is_absent(broker, minter_name, lease):
            continue
        with broker.store.transaction() as tx:
            _vanish(tx, lease)
        outcome.vanished.append(lease.id)


def _reopen_or_adopt(broker: Broker, tx: Transaction, found: Found, outcome: Comparison) -> None:
    """An ended lease of ours is ended again; a stranger is adopted, to be ended."""
    if not tx.try_lead(f"adopt {found.handle.name}"):
        return  # another replica found the same
    lease_id, lease = lease_behind(tx, found, lock=True)
    if lease is None:
        adopted = _adopted(broker, tx, lease_id, found)
        tx.add_lease(adopted)
        tx.record(lease_fact(FactKind.LEASE_ADOPTED, adopted, CLOCK, "unknown"))
        outcome.unknown.append(lease_id)
        return
    if lease.state is LeaseState.ENDED:
        again = lease.reappeared(tx.now())
        tx.save_lease(again)
        tx.record(lease_fact(FactKind.LEASE_REAPPEARED, again, CLOCK, "reappeared"))
        about = {"lease": lease.id, "target": lease.target}
        broker.notifier.alarm("an ended lease was found alive and is being ended again", about)
        outcome.reappeared.append(lease_id)


def _adopted(broker: Broker, tx: Transaction, lease_id: LeaseId, found: Found) -> Lease:
    """A lease for an object that nobody wrote down, ending from its first moment.

    When it ends by itself is unknown, so that no credential may live longer than we say.
    """
    now = tx.now()
    patience = broker.patience
    return Lease(
        id=lease_id,
        grant_id=None,
        task_id=None,
        agent_id=None,
        owner="",
        target=found.handle.target,
        scope="",
        catalogue_digest="",
        handle=found.handle,
        end_class=Proof.VERIFIED,
        state=LeaseState.ENDING,
        fence=1,
        requested_ttl=patience.mint_limit,
        granted_ttl=patience.mint_limit,
        cut_by="adopted",
        created_at=now,
        mint_until=now,
        second_tap_at=now + patience.second_tap,
        due_at=now,
        expires_at=now,
        backend_expires_at=now + LONGEST_TTL,
        end_reason="unknown",
        ending_since=now,
        seen_outside=True,
    )


def _vanish(tx: Transaction, lease: Lease) -> None:
    """An active lease whose object is gone: over, and we looked."""
    current = tx.lease(lease.id, lock=True)
    if current is None or current.state is not LeaseState.ACTIVE:
        return
    gone = current.ending("vanished", tx.now()).ended(Proof.VERIFIED, tx.now())
    tx.save_lease(gone)
    tx.record(lease_fact(FactKind.LEASE_VANISHED, gone, CLOCK, Proof.VERIFIED.value))


def _tell(broker: Broker, kind: FactKind, minter: str, body: dict[str, object]) -> bool:
    """Put it on record, once an hour while it stays the same; False when that was done."""
    told = {"minter": minter, **body}
    key = canonical_hash({"kind": kind.value, **told})
    if not broker.store.first_use("reconcile", key, broker.store.now() + AGAIN):
        return False
    with broker.store.transaction() as tx:
        tx.record(Fact(kind=kind, by=CLOCK, outcome="reported", body=told))
    return True
