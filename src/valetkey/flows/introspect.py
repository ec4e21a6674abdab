"""Introspect: whether a token that was minted as a credential is still good (RFC 7662)."""

from __future__ import annotations

from collections.abc import Mapping

from valetkey.core.ids import Mark
from valetkey.core.lease import LeaseState
from valetkey.ports import Broker

_TOLD = ("iss", "aud", "sub", "client_id", "exp", "iat", "nbf", "jti", "scope", "act")


def introspect(broker: Broker, claims: Mapping[str, object]) -> Mapping[str, object]:
    """What a resource server is told of verified claims: active only while the lease is.

    From the moment a lease starts to end the answer is inactive, which is what makes its end
    `confirmed`.
    """
    mark = Mark.read(str(claims["jti"]))
    if mark is None or mark.installation != broker.installation:
        return {"active": False}
    with broker.store.transaction() as tx:
        lease = tx.lease(mark.lease_id)
        now = tx.now()
    if lease is None or lease.state is not LeaseState.ACTIVE or now >= lease.expires_at:
        return {"active": False}
    told = {name: claims[name] for name in _TOLD if name in claims}
    about = {"vk_agent": lease.agent_id, "vk_task": lease.task_id, "vk_lease": lease.id}
    return {"active": True, "token_type": "Bearer", **told, **about}
