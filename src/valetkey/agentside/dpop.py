"""The caller's own key and the proofs it signs: DPoP (RFC 9449), ES256, one proof per request."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from valetkey.agentside.files import write_private_once


class DpopKey:
    """A P-256 key of the caller's own; it never leaves this machine and prints nothing."""

    def __init__(self, key: ECKey) -> None:
        self._key = key
        self._public = key.as_dict(private=False)

    @classmethod
    def new(cls) -> DpopKey:
        """Make a key that is kept in memory only."""
        return cls(ECKey.generate_key("P-256"))

    @classmethod
    def kept(cls, path: Path) -> DpopKey:
        """Load the key in `path` (a private JWK, mode 0600), making it on first use.

        Raises ValueError when the file holds no P-256 private key.
        """
        if not path.exists():
            made = ECKey.generate_key("P-256")
            write_private_once(path, json.dumps(made.as_dict(private=True)))
        try:
            key = ECKey.import_key(json.loads(path.read_text(encoding="ascii")))
        except (JoseError, ValueError, KeyError, TypeError):
            raise ValueError(f"{path} holds no P-256 private key") from None
        if not key.is_private or key.curve_name != "P-256":
            raise ValueError(f"{path} holds no P-256 private key")
        return cls(key)

    @property
    def thumbprint(self) -> str:
        """The key's RFC 7638 thumbprint, which our tokens are bound to (`cnf.jkt`)."""
        return self._key.thumbprint()

    def make_proof(
        self, method: str, url: str, access_token: str | None = None, **more: str | None
    ) -> str:
        """A fresh proof for one request: its method, URL without query, and access token.

        `more` are further claims, like `nonce`; those that are None are left out.
        """
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": _without_query(url),
            "iat": int(time.time()),
        }
        if access_token is not None:
            claims["ath"] = _hash(access_token)
        claims |= {name: value for name, value in more.items() if value is not None}
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": dict(self._public)}
        return jwt.encode(header, claims, self._key, algorithms=["ES256"])

    def __repr__(self) -> str:
        return f"DpopKey({self.thumbprint})"


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def _hash(token: str) -> str:
    digest = hashlib.sha256(token.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
