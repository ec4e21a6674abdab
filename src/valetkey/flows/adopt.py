"""Adopt: what was found outside gets a lease to end by; what is gone outside ends its lease."""

from __future__ import annotations

from valetkey.core.ask import LONGEST_TTL
from valetkey.core.comparison import Comparison
from valetkey.core.facts import FactKind
from valetkey.core.ids import LeaseId, lease_id_of
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.recording import CLOCK, lease_fact
from valetkey.ports import Broker, Found, Transaction


def adopt(broker: Broker, found: Found, outcome: Comparison) -> None:
    """An ended lease of ours is ended again; a stranger is adopted, to be ended."""
    with broker.store.transaction() as tx:
        if not tx.try_lead(f"adopt {found.handle.name}"):
            return  # another replica found the same
        lease_id, lease = _lease_behind(tx, found)
        if lease is None:
            adopted = _adopted(broker, tx, lease_id, found)
            tx.add_lease(adopted)
            tx.record(lease_fact(FactKind.LEASE_ADOPTED, adopted, CLOCK, "unknown"))
            outcome.unknown.append(lease_id)
        elif lease.state is LeaseState.ENDED:
            again = lease.reappeared(tx.now())
            tx.save_lease(again)
            tx.record(lease_fact(FactKind.LEASE_REAPPEARED, again, CLOCK, "reappeared"))
            outcome.reappeared.append(lease_id)
    if lease_id in outcome.reappeared:
        about = {"lease": lease_id, "target": found.handle.target}
        broker.notifier.alarm("an ended lease was found alive and is being ended again", about)


def vanish(broker: Broker, lease: Lease, outcome: Comparison) -> None:
    """An active lease whose object is gone: over, and we looked."""
    with broker.store.transaction() as tx:
        current = tx.lease(lease.id, lock=True)
        if current is None or current.state is not LeaseState.ACTIVE:
            return
        gone = current.ending("vanished", tx.now())
        if current.second_tap_at <= tx.now():  # else a renewal may be in flight: tapped as usual
            gone = gone.ended(Proof.VERIFIED, tx.now())
        tx.save_lease(gone)
        told = gone.proof.value if gone.proof else "waits"
        tx.record(lease_fact(FactKind.LEASE_VANISHED, gone, CLOCK, told))
    outcome.vanished.append(lease.id)


def _lease_behind(tx: Transaction, found: Found) -> tuple[LeaseId, Lease | None]:
    """The lease of an object, locked, and the id under which there is one, or would be."""
    lease = tx.lease(found.lease_id, lock=True)
    if lease is None or lease.handle.name == found.handle.name:
        return found.lease_id, lease
    own = lease_id_of(found.handle.name)
    return own, tx.lease(own, lock=True)


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
