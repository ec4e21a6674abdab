"""Revoke: one verb at any height. It marks leases as ending; the sweep does the rest."""

from __future__ import annotations

from collections.abc import Iterable

from valetkey.core.errors import NotFound
from valetkey.core.facts import FactKind
from valetkey.core.lease import LIVE, Lease
from valetkey.core.principal import Caller
from valetkey.flows.recording import lease_fact
from valetkey.ports import Broker, Transaction


def mark_ending(tx: Transaction, leases: Iterable[Lease], reason: str, by: str) -> list[Lease]:
    """Mark live leases as ending, due now, with their facts; others are left as they are.

    The leases must have been read with their rows locked.
    """
    marked = []
    for lease in leases:
        if lease.state not in LIVE:
            continue
        ending = lease.ending(reason, tx.now())
        if tx.save_lease(ending):
            tx.record(lease_fact(FactKind.LEASE_ENDING, ending, by, reason))
            marked.append(ending)
    return marked


def revoke_lease(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """Revoke one lease: its agent, its owner or an operator may. Doing it twice is fine.

    While it ends only to be given again, it is not given again. Raises NotFound for anybody else.
    """
    by = str(caller.principal)
    with broker.store.transaction() as tx:
        lease = tx.lease(lease_id, lock=True)
        if lease is None or not may_end(caller, lease):
            raise NotFound()
        return take_away(tx, lease, by)


def take_away(tx: Transaction, lease: Lease, by: str) -> Lease:
    """Start to end a lease that was read locked, for good; it is not given again."""
    marked = mark_ending(tx, [lease], "revoked", by)
    taken = lease.taken_away("revoked")
    if taken is not lease and tx.save_lease(taken):
        tx.record(lease_fact(FactKind.LEASE_TAKEN_AWAY, taken, by, "revoked"))
    return marked[0] if marked else taken


def may_end(caller: Caller, lease: Lease) -> bool:
    """True for the lease's agent, its owner, and operators."""
    if caller.agent_id is not None:
        return caller.agent_id == lease.agent_id
    return "operator" in caller.roles or caller.email == lease.owner
