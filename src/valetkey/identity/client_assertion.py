"""Clients prove who they are by private_key_jwt (RFC 7523, as rfc7523bis tightens it)."""

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
            return self._verify(form, now)
        except BadToken as bad:
            raise refused(Unauthenticated(str(bad)), "invalid_client") from None
        except NotReady:
            raise
        except BrokerError as because:
            because.extra.pop("oauth_error", None)
            raise refused(because, "invalid_client") from None

    def knows(self, form: Mapping[str, str]) -> bool:
        """Whether the form's assertion, unverified, says to be of a registered resource server."""
        try:
            return shown_assertion(form)[1] in self._servers
        except (BadToken, BrokerError):
            return False

    def _verify(self, form: Mapping[str, str], now: datetime) -> ResourceServer:
        jws, named = shown_assertion(form)
        found = self._servers.get(named)
        if found is None:
            raise Unauthenticated("no such client")
        server, keys = found
        claims = _verified(jws, server, keys)
        until = checked_assertion(claims, self._url, now)
        spend_once(self._uses, "client", (server.client_id, text(claims, "jti")), until)
        return server


def shown_assertion(form: Mapping[str, str]) -> tuple[UnverifiedJws, str]:
    """The form's client assertion, unverified, and the client it says to be.

    Raises InvalidRequest, Unauthenticated or BadToken: no secret beside it, of the one type, and
    no `client_id` that says otherwise.
    """
    if need(form, "client_assertion_type") != ASSERTION_TYPE or "client_secret" in form:
        raise Unauthenticated("only private_key_jwt is accepted")
    jws = read_compact(need(form, "client_assertion"))
    named = text(jws.unverified_claims(), "iss")
    if form.get("client_id", named) != named:
        raise Unauthenticated("no such client")
    if jws.typ() != _TYP:
        raise BadToken("the assertion is not of type client-authentication+jwt")
    return jws, named


def checked_assertion(claims: Mapping[str, object], url: str, now: datetime) -> datetime:
    """When an assertion ends that is by its own client, for us alone, 300 s long, and has a jti.

    `aud` is the issuer identifier as a single string: anything else could have been meant for
    another server (audience injection). Raises Unauthenticated, BadToken, TokenExpired, ClockSkew.
    """
    if claims.get("iss") != claims.get("sub") or claims.get("aud") != url:
        raise Unauthenticated("the assertion is not by this client, or not for us alone")
    expires = _check_times(claims, int(now.timestamp()))
    text(claims, "jti")
    return datetime.fromtimestamp(expires, UTC)


def _verified(jws: UnverifiedJws, server: ResourceServer, keys: Keys) -> VerifiedClaims:
    if jws.alg not in server.algorithms:
        raise BadToken("the assertion's algorithm is not accepted")
    if jws.kid() not in keys:
        raise BadToken("the client has no key of this kid")
    return verified_claims(jws, keys[jws.kid()])


def _check_times(claims: Mapping[str, object], now: int) -> int:
    expires, issued = instant(claims, "exp"), instant(claims, "iat")
    starts = instant(claims, "nbf") if "nbf" in claims else issued
    if expires <= now:
        raise TokenExpired("the assertion is past its end")
    if max(issued, starts) > now + LEEWAY:
        raise ClockSkew("the assertion was made in the future by our clock")
    if not 0 < expires - issued <= _LONGEST:
        raise Unauthenticated("the assertion lives longer than 300 seconds")
    return expires
