"""Our own access tokens: RFC 9068 at+jwt for our own API, at most 300 s, bound to its holder.

Bound to a DPoP key (RFC 9449 section 6), or to a client certificate (RFC 8705 section 3.1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from valetkey.core.errors import ClockSkew, TokenExpired, Unauthenticated
from valetkey.core.principal import ROLES, Acting, Caller, Person, Principal
from valetkey.identity.details import NAME, echoed, read_details, written_details
from valetkey.identity.jose import (
    MAX_TOKEN,
    BadToken,
    VerifiedClaims,
    instant,
    read_compact,
    text,
)
from valetkey.identity.keys import ALG, OurKeys
from valetkey.identity.seen import SeenSignatures

LONGEST: Final = timedelta(seconds=300)
_TYP: Final = "at+jwt"
_SKEW: Final = 5


class AccessTokens:
    """Issues and verifies the tokens of one installation, known by its external URL."""

    def __init__(self, url: str, keys: OurKeys) -> None:
        self._url = url
        self._keys = keys
        self._seen = SeenSignatures()

    def issue(self, caller: Caller, now: datetime) -> str:
        """A token that says who the caller is, until `caller.expires_at`.

        Raises ValueError for a life over 300 s, Unauthenticated when the caller's names and
        groups are too much for a token of 8 KiB.
        """
        if not timedelta(0) < caller.expires_at - now <= LONGEST:
            raise ValueError("an access token lives between 0 and 300 seconds")
        claims = {
            "iss": self._url,
            "aud": self._url,
            "sub": caller.subject,
            "client_id": caller.client_id,
            "exp": int(caller.expires_at.timestamp()),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "jti": caller.token_id,
            **bound_to(caller),
            **acting_claims(caller),
            **_private(caller),
        }
        token = self._keys.sign(_TYP, json.dumps(claims, separators=(",", ":")).encode())
        if len(token) > MAX_TOKEN:
            raise Unauthenticated("the identity says too much for a token of 8 KiB")
        return token

    def answer(self, caller: Caller, now: datetime) -> dict[str, object]:
        """The token response (RFC 6749 section 5.1) with such a token; raises what `issue` does."""
        return {
            "access_token": self.issue(caller, now),
            "token_type": token_type(caller),
            "expires_in": int((caller.expires_at - now).total_seconds()),
            **echoed(caller.details),
        }

    def verify(self, token: str, now: datetime) -> Caller:
        """The caller that a token of ours names; that it is the holder is still to be checked.

        Raises Unauthenticated, TokenExpired, or ClockSkew when our own clocks disagree.
        """
        try:
            jws = read_compact(token)
            if jws.alg != ALG or jws.typ() != _TYP:
                raise BadToken("the token is not one of our access tokens")
            claims = self._seen.verified_claims(jws, self._keys.verifying(jws.kid()))
            caller = self._caller(claims)
            made = max(instant(claims, "iat"), instant(claims, "nbf"))
        except BadToken as bad:
            raise Unauthenticated(str(bad)) from None
        if caller.expires_at <= now:
            raise TokenExpired()
        if made > now.timestamp() + _SKEW:
            raise ClockSkew("the token was made in the future by our clock")
        return caller

    def _caller(self, claims: VerifiedClaims) -> Caller:
        if claims.get("iss") != self._url or claims.get("aud") != self._url:
            raise BadToken("the token is not for this API")
        return _caller(claims)


def bound_to(caller: Caller) -> dict[str, object]:
    """The claim that says what a token is bound to (RFC 7800): a key or a certificate."""
    return {"cnf": {"jkt": caller.jkt} if caller.x5t is None else {"x5t#S256": caller.x5t}}


def token_type(caller: Caller) -> str:
    """The scheme that the caller's token goes under."""
    return "DPoP" if caller.x5t is None else "Bearer"


def _private(caller: Caller) -> dict[str, object]:
    said: dict[str, object] = {
        "vk_kind": caller.kind,
        "vk_issuer": caller.principal.issuer,
        "vk_subject": caller.principal.subject,
        "vk_agent_id": caller.agent_id,
        "vk_agent": caller.agent,
        "vk_binding": caller.binding_id,
        "vk_groups": sorted(caller.groups),
        "vk_roles": sorted(caller.roles),
        "vk_email": caller.email,
        "vk_auth_time": caller.auth_time and int(caller.auth_time.timestamp()),
        "vk_fresh_for": caller.fresh_for,
        "vk_rule": caller.rule,
        "vk_key": None if caller.x5t is None else caller.jkt,
        "vk_acting": _written(caller.acting),
        NAME: written_details(caller.details),
    }
    return {name: value for name, value in said.items() if value is not None and value != []}


def _caller(claims: VerifiedClaims) -> Caller:
    confirmation = claims.get("cnf")
    kind = claims.get("vk_kind")
    if not isinstance(confirmation, dict) or kind not in ("agent", "person", "ci"):
        raise BadToken("the token does not say whom it is for")
    return Caller(
        kind=kind,
        principal=Principal(text(claims, "vk_issuer", 1024), text(claims, "vk_subject")),
        jkt=text(claims, "vk_key") if "x5t#S256" in confirmation else text(confirmation, "jkt"),
        expires_at=datetime.fromtimestamp(instant(claims, "exp"), UTC),
        token_id=text(claims, "jti"),
        agent_id=_maybe(claims, "vk_agent_id"),
        agent=_maybe(claims, "vk_agent"),
        binding_id=_maybe(claims, "vk_binding"),
        groups=_names(claims, "vk_groups"),
        roles=_names(claims, "vk_roles") & ROLES,
        email=_maybe(claims, "vk_email"),
        auth_time=_instant_or_none(claims),
        fresh_for=_maybe(claims, "vk_fresh_for"),
        rule=_maybe(claims, "vk_rule"),
        details=read_details(claims[NAME], granted=True) if NAME in claims else (),
        x5t=_maybe(confirmation, "x5t#S256"),
        acting=_acting(claims["vk_acting"]) if "vk_acting" in claims else None,
    )


def acting_claims(caller: Caller) -> dict[str, object]:
    """`act` (RFC 8693 section 4.1) of a token that acts for a person: the agent, and nothing else.

    We build it from what we verified; what a client says of actors is never in it.
    """
    return {"act": {"sub": caller.client_id}} if caller.acting else {}


def _written(acting: Acting | None) -> dict[str, object] | None:
    if acting is None:
        return None
    person, until = acting.person, acting.until
    said: dict[str, object] = {"email": person.email, "groups": list(person.groups)}
    said |= {"principal": person.principal, "said_at": int(acting.said_at.timestamp())}
    return said if until is None else {**said, "until": int(until.timestamp())}


def _acting(written: object) -> Acting:
    """What we wrote; our signature was checked."""
    if not isinstance(written, dict):
        raise BadToken("the token does not say for whom it is")
    said: VerifiedClaims = VerifiedClaims(written)
    person = Person(
        text(said, "principal", 1300), text(said, "email"), tuple(sorted(_names(said, "groups")))
    )
    until = _at(said, "until") if "until" in said else None
    return Acting(person, _at(said, "said_at"), until)


def _at(claims: VerifiedClaims, name: str) -> datetime:
    return datetime.fromtimestamp(instant(claims, name), UTC)


def _maybe(claims: Mapping[str, object], name: str) -> str | None:
    return text(claims, name, 1024) if name in claims else None


def _names(claims: VerifiedClaims, name: str) -> frozenset[str]:
    listed = claims.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
        raise BadToken("the token does not say whom it is for")
    return frozenset(listed)


def _instant_or_none(claims: VerifiedClaims) -> datetime | None:
    if "vk_auth_time" not in claims:
        return None
    return datetime.fromtimestamp(instant(claims, "vk_auth_time"), UTC)
