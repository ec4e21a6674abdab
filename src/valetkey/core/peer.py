"""Who is at the other end of a TLS connection: the certificates that a client showed."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

Peer = tuple[bytes, ...]
"""The certificates of a client, DER, its own first; it proved that it holds the key of that one."""

NOBODY: Final[Peer] = ()
"""A client that showed no certificate, or a connection whose TLS ends before us."""


def certificate_thumbprint(peer: Peer) -> str | None:
    """The `x5t#S256` of the client's own certificate (RFC 8705 section 3.1); None without one."""
    if not peer:
        return None
    return base64.urlsafe_b64encode(hashlib.sha256(peer[0]).digest()).rstrip(b"=").decode()
