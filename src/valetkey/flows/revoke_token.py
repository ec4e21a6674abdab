"""Revoke a token of ours before its end (RFC 7009): an access token, or a credential."""

from __future__ import annotations

from valetkey.core.errors import NotFound
from valetkey.core.facts import Fact, FactKind
from valetkey.core.ids import LeaseId, Mark
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.core.tokens import OurToken
from valetkey.core.trust import ResourceServer
from valetkey.flows.revoke import revoke_lease, take_away
from valetkey.ports import Broker

ANOTHERS = "the token was given to another client"


def revoke_token(broker: Broker, by: Caller | ResourceServer, token: OurToken) -> Lease | None:
    """Refuse an access token from now on, or start to end the lease of a credential.

    An access token is revoked by whom it was given to; credentials got with it stay. The lease
    that starts to end is returned, and is over no sooner than its end is proven. A resource
    server may end what was made for its own audience. Raises NotFound for anybody else's token.
    """
    if token.holder is not None:
        _revoke_access(broker, by, token, token.holder)
        return None
    mark = Mark.read(token.token_id)
    if mark is None or mark.installation != broker.installation:
        return None
    if isinstance(by, Caller):
        return revoke_lease(broker, by, mark.lease_id)
    if by.audience != token.audience:
        raise NotFound(ANOTHERS)
    return _end_for_server(broker, by, mark.lease_id)


def _revoke_access(
    broker: Broker, by: Caller | ResourceServer, token: OurToken, holder: Caller
) -> None:
    if not isinstance(by, Caller) or by.client_id != holder.client_id:
        raise NotFound(ANOTHERS)
    about = {"token": token.token_id, "kind": holder.kind, "jkt": holder.jkt}
    with broker.store.transaction() as tx:
        if tx.revoke_token(token.token_id, token.expires_at):
            who = str(by.principal)
            tx.record(Fact(FactKind.TOKEN_REVOKED, who, agent_id=holder.agent_id, body=about))


def _end_for_server(broker: Broker, by: ResourceServer, lease_id: LeaseId) -> Lease:
    with broker.store.transaction() as tx:
        lease = tx.lease(lease_id, lock=True)
        if lease is None:
            raise NotFound()
        return take_away(tx, lease, f"resource-server {by.client_id}")
