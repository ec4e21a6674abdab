"""Tokens that are credentials: signed with our key for an outside audience (RFC 9068)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from valetkey.core.errors import Unauthenticated
from valetkey.identity.jose import BadToken, instant, read_compact, text
from valetkey.identity.keys import ALG, OurKeys
from valetkey.identity.seen import SeenSignatures

_TYP = "at+jwt"


class MintedTokens:
    """Signs what the signed-token minter makes, and reads it again when it is introspected."""

    def __init__(self, url: str, keys: OurKeys) -> None:
        self._url, self._keys, self._seen = url, keys, SeenSignatures()

    def sign(self, claims: Mapping[str, object]) -> str:
        """A compact JWS of these claims under our current key."""
        return self._keys.sign(_TYP, json.dumps(claims, separators=(",", ":")).encode())

    def read(self, token: str, audience: str, now: datetime) -> Mapping[str, object]:
        """The claims of a live token for this audience; raises Unauthenticated for any other."""
        claims = self.read_any(token, now)
        if claims["aud"] != audience:
            raise Unauthenticated("not for this audience")
        return claims

    def read_any(self, token: str, now: datetime) -> Mapping[str, object]:
        """The claims of a live token, whatever its audience; raises Unauthenticated."""
        try:
            jws = read_compact(token)
            if jws.alg != ALG or jws.typ() != _TYP:
                raise BadToken("not one of our tokens")
            claims = self._seen.verified_claims(jws, self._keys.verifying(jws.kid()))
            ours = text(claims, "iss", 1024) == self._url
            if not ours or instant(claims, "exp") <= now.timestamp():
                raise BadToken("not of this installation, or past its end")
            text(claims, "jti")
            text(claims, "aud", 1024)
        except BadToken as bad:
            raise Unauthenticated(str(bad)) from None
        return claims
