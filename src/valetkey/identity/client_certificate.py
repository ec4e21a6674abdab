"""Client credentials by mTLS: a workload's X.509-SVID in, a token of ours out (RFC 8705).

The method is `tls_client_auth` by the certificate's URI (section 2.1.2). The token is bound to the
key of a DPoP proof if one is sent, else to the certificate itself (section 3).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from valetkey.core.errors import (
    BrokerError,
    KeyMismatch,
    TrustRuleTooWide,
    Unauthenticated,
    UnknownAgent,
)
from valetkey.core.peer import Peer, certificate_thumbprint
from valetkey.core.pins import check_pins
from valetkey.core.principal import Caller, Principal
from valetkey.identity.bindings import AgentIdentity, Bindings
from valetkey.identity.details import asked_details
from valetkey.identity.dpop import DpopProof, Sent, bound_key
from valetkey.identity.exchange import Exchanged, as_agent
from valetkey.identity.oauth import check_asked, refused
from valetkey.identity.replay import Uses, spend_once
from valetkey.identity.svids import SvidReader, VerifiedSvid
from valetkey.identity.tokens import LONGEST, AccessTokens


@dataclass(frozen=True)
class ClientCertificates:
    """The grant of one installation, at one external URL, for the trust domains of `reader`."""

    url: str
    reader: SvidReader
    bindings: Bindings
    tokens: AccessTokens
    uses: Uses

    def run(self, form: Mapping[str, str], sent: Sent, now: datetime) -> Exchanged:
        """A token for the agent that the connection's X.509-SVID is bound to.

        Nothing is written before everything has verified. Raises a BrokerError with its RFC 6749
        code in `extra["oauth_error"]`: `invalid_client` for what is wrong with the certificate,
        unless the fault is ours (NotReady, StoreUnavailable).
        """
        check_asked(form, self.url)
        details = asked_details(form)
        dpop = bound_key(sent, now) if sent.proofs else None
        try:
            svid = self.reader.read(sent.peer, now)
            if sent.waits is not None:
                sent.waits.check(svid.jkt)
            agent = self.bindings.binding_for(svid.record.name, {"sub": svid.subject})
            caller = as_agent(_caller(svid, dpop, now), agent)
            assert agent is not None
            _check_named(form, svid, agent)
            if dpop is not None:
                spend_once(self.uses, "dpop", (dpop.jkt, dpop.jti), dpop.until)
        except BrokerError as because:
            because.extra.pop("oauth_error", None)
            issuer = self.reader.issuer_named(sent.peer)
            raise refused(because, "invalid_client", issuer) from None
        caller = replace(caller, details=details)
        noted = {"x5t#S256": svid.x5t}
        return Exchanged(self.tokens.answer(caller, now), caller, svid.record.name, (), noted)


def _caller(svid: VerifiedSvid, dpop: DpopProof | None, now: datetime) -> Caller:
    return Caller(
        kind="agent",
        principal=Principal(svid.record.issuer, svid.subject),
        jkt=svid.jkt if dpop is None else dpop.jkt,
        expires_at=min(now.replace(microsecond=0) + LONGEST, svid.until),
        token_id=secrets.token_urlsafe(18),
        x5t=svid.x5t if dpop is None else None,
    )


def _check_named(form: Mapping[str, str], svid: VerifiedSvid, agent: AgentIdentity) -> None:
    """Nobody says to be somebody else, and the binding is as narrow as bindings are today."""
    if form.get("client_id") not in (None, svid.subject, agent.agent_id, agent.name):
        raise Unauthenticated("the certificate is another client's")
    try:
        check_pins(svid.record.platform, agent.pins)
    except TrustRuleTooWide as wide:
        raise UnknownAgent(f"the binding is too wide: {wide.detail}") from None


def check_holder(caller: Caller, peer: Peer) -> None:
    """Raise KeyMismatch unless the connection is of the certificate that a token is bound to."""
    if certificate_thumbprint(peer) != caller.x5t:
        raise KeyMismatch("the token is bound to a certificate that this connection is not of")
