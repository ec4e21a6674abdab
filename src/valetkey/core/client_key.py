"""Keys that agents prove themselves with: public JWKs, bound like any other identity.

A key is kept as the members that its RFC 7638 thumbprint is made of and no others, in the one
spelling that base64url has for them, so that one key is always one binding.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final

from valetkey.core.errors import InvalidRequest

CLIENT_KEY: Final = "client-key"
"""What stands for the issuer in the binding of a key, and in a trust rule's `may_bind`."""

_KINDS: Final = {("EC", "P-256"): ("x", "y"), ("OKP", "Ed25519"): ("x",)}
_COORDINATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def check_client_key(pairs: Iterable[tuple[str, str]]) -> None:
    """Raise InvalidRequest unless this is one public key, P-256 or Ed25519, and nothing else.

    Whether the point is on its curve shows when something is to be verified with it.
    """
    members = dict(pairs)
    names = _KINDS.get((members.get("kty", ""), members.get("crv", "")))
    if names is None or members.keys() != {"kty", "crv", *names}:
        raise InvalidRequest("a client key is a public JWK: P-256 or Ed25519, kty, crv, x and y")
    if not all(_is_canonical(members[name]) for name in names):
        raise InvalidRequest("a coordinate of the client key is not 32 bytes of base64url")


def _is_canonical(coordinate: str) -> bool:
    """Whether 32 bytes are spelled as RFC 4648 section 3.5 says: without stray bits."""
    if not _COORDINATE.fullmatch(coordinate):
        return False
    raw = base64.urlsafe_b64decode(coordinate + "=")
    return base64.urlsafe_b64encode(raw).decode() == coordinate + "="
