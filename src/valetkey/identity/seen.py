"""Which signatures of our own were found good lately, so that a token is verified once and not
with each request that carries it.

What is kept is a hash: a token may be a secret. It says only that this key made this signature;
whether the token is still good, and whether the key is still ours, is asked each time.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final

from valetkey.identity.jose import UnverifiedJws, VerifiedClaims, VerifyingKey, verified_claims

MOST: Final = 8192


class SeenSignatures:
    """The newest good signatures, `MOST` at most. Safe for threads."""

    def __init__(self) -> None:
        self._good: dict[bytes, None] = {}
        self._turn = threading.Lock()

    def verified_claims(self, jws: UnverifiedJws, key: VerifyingKey) -> VerifiedClaims:
        """As `jose.verified_claims` says, and raises what it raises."""
        mark = _mark(jws, key)
        if mark in self._good:
            return VerifiedClaims(jws.unverified_claims())
        claims = verified_claims(jws, key)
        with self._turn:
            self._good[mark] = None
            if len(self._good) > MOST:
                del self._good[next(iter(self._good))]
        return claims


def _mark(jws: UnverifiedJws, key: VerifyingKey) -> bytes:
    """A thumbprint is of one length and a signing input has one dot: there is no second reading."""
    signed = (key.thumbprint.encode(), jws.signing_input, jws.signature)
    return hashlib.sha256(b".".join(signed)).digest()
