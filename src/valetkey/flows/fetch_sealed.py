"""Fetch again a sealed answer that was lost on its way, while it is kept."""

from __future__ import annotations

from valetkey.core.errors import AlreadyDelivered, InProgress, LeaseEnded, NotFound
from valetkey.core.lease import LeaseState
from valetkey.core.principal import Caller
from valetkey.flows.recording import refusals_about
from valetkey.flows.request_credential import asked_before, within_token
from valetkey.flows.sealing import sealed_again
from valetkey.flows.verdicts import Sealed
from valetkey.flows.weigh import open_task
from valetkey.ports import Broker


def fetch_sealed(broker: Broker, caller: Caller, lease_id: str) -> Sealed:
    """The same ciphertext as before, for the key that asked, while the lease is active.

    Raises NotFound for anybody else and for what was not sealed, InProgress before it is minted,
    LeaseEnded once it is ending, AlreadyDelivered when it is not kept any more, Killed, and what
    an ended task or a disabled agent raises.
    """
    with broker.store.transaction() as tx:
        lease = tx.lease(lease_id)
        grant = tx.grant(lease.grant_id or "") if lease else None
        if lease is None or grant is None or grant.seal_to is None:
            raise NotFound()
        if (grant.agent_id, grant.requester_jkt) != (caller.agent_id, caller.jkt):
            raise NotFound()
        with refusals_about(grant.task_id):
            within_token(caller, asked_before(grant))
            standing = open_task(tx, caller, grant.task_id, grant.scope)
            lease = tx.lease(lease_id, lock=True) or lease
            again = sealed_again(tx, standing, lease, grant)
            if again is not None:
                return again
            about = {"lease_id": lease.id, "lease_state": lease.state.value}
            if lease.state is LeaseState.MINTING:
                raise InProgress(retry_after=2, extra=about)
            if lease.state is not LeaseState.ACTIVE:
                raise LeaseEnded("the lease is not active any more", extra=about)
            raise AlreadyDelivered("the sealed answer is not kept any longer", extra=about)
