"""Resource servers prove who they are by private_key_jwt (RFC 7523, as rfc7523bis tightens it)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from valetkey.core.errors import (
    BrokerError,
    ClockSkew,
    NotReady,
    TokenExpired,
    Unauthenticated,
)
from valetkey.core.trust import ResourceServer
from valetkey.identity.jose import (
    BadToken,
    UnverifiedJws,
    VerifiedClaims,
    instant,
    read_compact,
    text,
    verified_claims,
)
from valetkey.identity.jwks import Keys, keys_of
from valetkey.identity.oauth import need, refused
from valetkey.identity.oidc import LEEWAY
from valetkey.identity.replay import Uses, spend_once

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TYP: Final = "client-authentication+jwt"
_LONGEST: Final = 300


class ClientAssertions:
    """Authenticates registered resource servers at one issuer identifier, our external URL."""

    def __init__(self, url: str, servers: Iterable[ResourceServer], uses: Uses) -> None:
        """Raises BadToken when a server's key set cannot be read."""
        self._url = url
        self._uses = uses
        self._servers: Mapping[str, tuple[ResourceServer, Keys]] = {
            server.client_id: (server, keys_of(server.jwks)) for server in servers
        }

    def authenticate(self, form: Mapping[str, str], now: datetime) -> ResourceServer:
        """The resource server that signed the form's `client_assertion`.

        Raises a BrokerError with `extra["oauth_error"] == "invalid_client"`.
        """
        try:
            if need(form, "client_assertion_type") != ASSERTION_TYPE or "client_secret" in form:
                raise Unauthenticated("only private_key_jwt is accepted")
            return self._verify(need(form, "client_assertion"), form.get("client_id"), now)
        except BadToken as bad:
            raise refused(Unauthenticated(str(bad)), "invalid_client") from None
        except NotReady:
            raise
        except BrokerError as because:
            because.extra.pop("oauth_error", None)
            raise refused(because, "invalid_client") from None

    def _verify(self, assertion: str, client_id: str | None, now: datetime) -> ResourceServer:
        jws = read_compact(assertion)
        named = jws.unverified_claims().get("iss")
        found = self._servers.get(named) if isinstance(named, str) else None
        if found is None or client_id not in (None, named):
            raise Unauthenticated("no such client")
        server, keys = found
        claims = _verified(jws, server, keys)
        if claims.get("iss") != claims.get("sub") or claims.get("aud") != self._url:
            raise Unauthenticated("the assertion is not by this client, or not for us alone")
        expires = _check_times(claims, int(now.timestamp()))
        jti = text(claims, "jti")
        until = datetime.fromtimestamp(expires, UTC)
        spend_once(self._uses, "client", (server.client_id, jti), until)
        return server


def _verified(jws: UnverifiedJws, server: ResourceServer, keys: Keys) -> VerifiedClaims:
    if jws.typ() != _TYP or jws.alg not in server.algorithms:
        raise BadToken("the assertion is of another type or algorithm than expected")
    if jws.kid() not in keys:
        raise BadToken("the client has no key of this kid")
    return verified_claims(jws, keys[jws.kid()])


def _check_times(claims: VerifiedClaims, now: int) -> int:
    expires, issued = instant(claims, "exp"), instant(claims, "iat")
    starts = instant(claims, "nbf") if "nbf" in claims else issued
    if expires <= now:
        raise TokenExpired("the assertion is past its end")
    if max(issued, starts) > now + LEEWAY:
        raise ClockSkew("the assertion was made in the future by our clock")
    if not 0 < expires - issued <= _LONGEST:
        raise Unauthenticated("the assertion lives longer than 300 seconds")
    return expires
