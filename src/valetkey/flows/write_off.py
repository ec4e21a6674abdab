"""Write off: a named human answers for a credential whose end nobody could prove."""

from __future__ import annotations

from dataclasses import replace

from valetkey.core.errors import NotFound, NotStuck, RoleRequired
from valetkey.core.facts import FactKind
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.principal import Caller
from valetkey.flows.end_task import line
from valetkey.flows.fresh import logged_in_for
from valetkey.flows.recording import lease_fact
from valetkey.ports import Broker, Transaction


def write_off(broker: Broker, caller: Caller, lease_id: str, reason: str) -> Lease:
    """Give up a stuck lease, by name and with a reason; found again, it is reopened and ended.

    Needs an operator with a login fresh for it, other than its owner and those of tasks above.
    Raises NotFound, RoleRequired, NotStuck, FreshLoginRequired.
    """
    if "operator" not in caller.roles:
        raise RoleRequired()
    with broker.store.transaction() as tx:
        lease = tx.lease(lease_id, lock=True)
        if lease is None:
            raise NotFound()
        if (caller.email or "").casefold() in _owners(tx, lease):
            raise RoleRequired("another operator than the lease's owner must write it off")
        if lease.state is not LeaseState.STUCK:
            raise NotStuck()
        logged_in_for(broker, tx, caller, fresh_for(lease))
        gone = lease.written_off(caller.email or str(caller.principal), reason, tx.now())
        tx.save_lease(gone)
        told = lease_fact(FactKind.LEASE_WRITTEN_OFF, gone, str(caller.principal), "written_off")
        named = {"written_off_by": gone.written_off_by, "untrusted_reason": reason}
        named |= {"last_problem": lease.last_error}
        tx.record(replace(told, body={**told.body, **named}))
    about = {"lease": lease.id, "target": lease.target, "by": gone.written_off_by or ""}
    broker.notifier.alarm("a lease was written off: nobody has proven its end", about)
    return gone


def fresh_for(lease: Lease) -> str:
    """What a login must have been made for, to write this lease off (the OIDC `nonce`)."""
    return f"write-off:{lease.id}"


def _owners(tx: Transaction, lease: Lease) -> set[str]:
    task = tx.task(lease.task_id) if lease.task_id else None
    above = {one.owner.casefold() for one in line(tx, task)} if task else set()
    return {lease.owner.casefold()} | above
