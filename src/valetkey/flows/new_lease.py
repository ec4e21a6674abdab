"""A new lease: what is written of a credential before anything of it exists."""

from __future__ import annotations

from datetime import datetime

from valetkey.core.ask import GrantedTtl
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Lease, LeaseState
from valetkey.ports import Broker


def new_lease(broker: Broker, wanted: CataloguedScope, ttl: GrantedTtl, now: datetime) -> Lease:
    """A lease to be minted from `now` on, with its handle, of nobody yet and under no grant.

    It is due when nobody may be minting it any more, and may live as long as the latest mint.
    """
    lease_id, patience = LeaseId(broker.new_id("lease")), broker.patience
    minter = broker.minters[wanted.target.minter]
    mint_until = now + patience.mint_limit
    second_tap_at = mint_until + patience.second_tap
    return Lease(
        id=lease_id,
        grant_id=None,
        task_id=None,
        agent_id=None,
        owner="",
        target=wanted.target.name,
        scope=str(wanted.scope),
        catalogue_digest=wanted.catalogue_digest,
        handle=minter.handle_for(lease_id, wanted),
        end_class=minter.end_class(wanted),
        state=LeaseState.MINTING,
        fence=1,
        requested_ttl=ttl.ttl,
        granted_ttl=ttl.ttl,
        cut_by=ttl.cut_by,
        created_at=now,
        mint_until=mint_until,
        second_tap_at=second_tap_at,
        due_at=mint_until,
        expires_at=now + ttl.ttl,
        backend_expires_at=second_tap_at + minter.longest_life(ttl.ttl),
    )
