"""Our own signing keys: one that signs, and others that verify: those to come and retired ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from valetkey.identity.jose import (
    BadToken,
    VerifyingKey,
    encode_segment,
    strict_object,
    verifying_key,
)

ALG = "ES256"


class OurKeys(Protocol):
    """What signs our tokens and verifies them again, whichever key it is by now."""

    def sign(self, typ: str, payload: bytes) -> str:
        """A compact JWS of this payload (RFC 7515)."""

    def verifying(self, kid: str) -> VerifyingKey:
        """The public key of this id; raises BadToken when it is not ours."""

    def jwks(self) -> dict[str, object]:
        """The public keys as a JWK Set (RFC 7517)."""


class SigningKeys:
    """ES256 keys whose ids are their RFC 7638 thumbprints. Shows nothing of itself."""

    def __init__(self, active: ECKey, others: Sequence[ECKey] = ()) -> None:
        """Raises ValueError unless `active` is a private P-256 key and all are P-256."""
        if not active.is_private or any(key.curve_name != "P-256" for key in (active, *others)):
            raise ValueError("signing keys must be P-256, the active one private")
        self._active = active
        self._kid = active.thumbprint()
        self._public = {key.thumbprint(): _public(key) for key in (active, *others)}
        self._verifying = {kid: verifying_key(jwk) for kid, jwk in self._public.items()}

    def __repr__(self) -> str:
        return f"SigningKeys({len(self._public)})"

    @classmethod
    def load(cls, active: Path, retired: Sequence[Path] = ()) -> SigningKeys:
        """Read PEM or JWK files, each one key; raises ValueError when one cannot be used."""
        return cls(read_key(active), [read_key(path) for path in retired])

    @classmethod
    def generate(cls) -> SigningKeys:
        """A fresh key, for development and tests."""
        return cls(ECKey.generate_key("P-256"))

    @property
    def kid(self) -> str:
        """The id of the key that signs."""
        return self._kid

    def kids(self) -> frozenset[str]:
        """The ids of all that verify."""
        return frozenset(self._public)

    def sign(self, typ: str, payload: bytes) -> str:
        """A compact JWS of this payload (RFC 7515) with the active key."""
        head = f'{{"alg":"{ALG}","kid":"{self._kid}","typ":"{typ}"}}'
        signing_input = f"{encode_segment(head.encode())}.{encode_segment(payload)}"
        made = JWSRegistry.algorithms[ALG].sign(signing_input.encode(), self._active)
        return f"{signing_input}.{encode_segment(made)}"

    def verifying(self, kid: str) -> VerifyingKey:
        """The public key of this id; raises BadToken when it is not ours."""
        if kid not in self._verifying:
            raise BadToken("the token was not signed by us")
        return self._verifying[kid]

    def jwks(self) -> dict[str, object]:
        """The public keys as a JWK Set (RFC 7517), active first."""
        members = {"use": "sig", "alg": ALG}
        return {"keys": [{**jwk, **members, "kid": kid} for kid, jwk in self._public.items()]}


def _public(key: ECKey) -> Mapping[str, object]:
    shown = key.as_dict(private=False)
    return {name: shown[name] for name in ("kty", "crv", "x", "y")}


def read_key(path: Path) -> ECKey:
    """The one EC key in a PEM or JWK file; raises OSError, or ValueError that names the file."""
    raw = path.read_bytes()
    try:
        if raw.lstrip().startswith(b"{"):
            return ECKey.import_key(
                {name: str(value) for name, value in strict_object(raw).items() if name in _JWK}
            )
        return ECKey.import_key(raw)
    except (JoseError, BadToken, ValueError, KeyError, TypeError):
        raise ValueError(f"{path} does not hold an EC key as PEM or JWK") from None


_JWK = frozenset({"kty", "crv", "x", "y", "d"})
