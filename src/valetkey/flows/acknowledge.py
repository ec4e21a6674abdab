"""Acknowledge: the asker says that its credential came. A scope may end what never is."""

from __future__ import annotations

from valetkey.core.errors import NotFound
from valetkey.core.facts import FactKind
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.flows.recording import lease_fact
from valetkey.ports import Broker


def acknowledge(broker: Broker, caller: Caller, lease_id: str) -> Lease:
    """Take note that the caller has its credential; the lease as it is then.

    Only the key that asked may. Twice is as good as once, and what is not active is left as it is:
    nothing is brought back by it. Raises NotFound for anybody else.
    """
    with broker.store.transaction() as tx:
        lease = tx.lease(lease_id, lock=True)
        grant = tx.grant(lease.grant_id or "") if lease else None
        if lease is None or grant is None:
            raise NotFound()
        if (grant.agent_id, grant.requester_jkt) != (caller.agent_id, caller.jkt):
            raise NotFound()
        noted = lease.acknowledged(tx.now())
        if noted is not lease:
            tx.save_lease(noted)
            tx.record(lease_fact(FactKind.LEASE_ACKNOWLEDGED, noted, str(caller.principal)))
    return noted
