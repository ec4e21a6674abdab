"""Signing keys of the dev issuer: one set per realm, made once, kept in 0600 files.

A realm is one issuer with its own name, keys and JWKS: people (the base URL), `github` (CI jobs),
`workloads` (bots on a platform) and `platform` (what the Valetkey server itself runs on). Keys
are not shared between them, so that a token of one can never pass for a token of another.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from valetkey.devstack.folders import read_json, write_json

REALMS = ("people", "github", "workloads", "platform")
RSA_REALMS = ("people", "github")


@dataclass(frozen=True, repr=False)
class Realm:
    """One issuer: its `iss` and its signing keys by algorithm (ES256, for some also RS256)."""

    issuer: str
    keys: dict[str, ECKey | RSAKey]

    def __repr__(self) -> str:
        return f"Realm({self.issuer!r})"

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517)."""
        return dict(KeySet(list(self.keys.values())).as_dict(private=False))

    def public_pem(self) -> list[str]:
        """Return the public keys as PEM text."""
        return [key.as_pem(private=False).decode() for key in self.keys.values()]

    def sign(self, claims: dict[str, Any], *, life: int, alg: str = "ES256") -> str:
        """Return a compact JWT of `claims` with `iss`, `iat`, `nbf`, `exp` and `jti` filled in.

        `life` is in seconds. Claims given by the caller win, so tests can make wrong tokens.
        """
        now = int(time.time())
        filled = {"iss": self.issuer, "iat": now, "nbf": now, "exp": now + life}
        key = self.keys[alg]
        header = {"alg": alg, "typ": "JWT", "kid": key.kid}
        full = filled | {"jti": str(uuid.uuid4())} | claims
        return jwt.encode(header, full, key, algorithms=[alg])


def realms(folder: Path, base: str) -> dict[str, Realm]:
    """Return every realm by name for the issuer at `base`, making missing keys in `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {name: Realm(_issuer(base, name), _keys(folder, name)) for name in REALMS}


def _issuer(base: str, name: str) -> str:
    return base if name == "people" else f"{base}/{name}"


def _keys(folder: Path, name: str) -> dict[str, ECKey | RSAKey]:
    path = folder / f"{name}.keys.json"
    if not path.exists():
        rsa = {"RS256": _new_rsa()} if name in RSA_REALMS else {}
        write_json(path, {"ES256": _new_ec()} | rsa)
    kept = read_json(path)
    keys: dict[str, ECKey | RSAKey] = {"ES256": ECKey.import_key(kept["ES256"])}
    if "RS256" in kept:
        keys["RS256"] = RSAKey.import_key(kept["RS256"])
    return keys


def _new_ec() -> dict[str, Any]:
    key = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig"}, auto_kid=True)
    return dict(key.as_dict(private=True))


def _new_rsa() -> dict[str, Any]:
    key = RSAKey.generate_key(2048, {"alg": "RS256", "use": "sig"}, auto_kid=True)
    return dict(key.as_dict(private=True))
