"""Keys that credentials are sealed to, and what may be kept of a sealed answer.

A key is a public JWK of the asker's own (RFC 7517): P-256 (RFC 7518, 6.2) or X25519 (RFC 8037). It
is kept as the members that its RFC 7638 thumbprint is made of, in their one spelling, so that one
key has one name; points that no private key can have are refused before anything is minted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from valetkey.core.errors import InvalidRequest

ALG: Final = "ECDH-ES+A256KW"
ENC: Final = "A256GCM"
TYP: Final = "valetkey-credential+jwe"
KEPT_FOR: Final = timedelta(minutes=2)
"""How long the sealed answer alone is kept, so that it can be fetched again."""

_COORDINATES: Final = {("EC", "P-256"): ("x", "y"), ("OKP", "X25519"): ("x",)}
_BESIDE: Final = frozenset({"alg", "use", "kid", "key_ops"})
_SPELLED: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_KID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_P256: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_P25519: Final = 2**255 - 19
_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        _P25519 - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)
"""The u of points whose product with any scalar of RFC 7748 is zero: a secret known to all."""


@dataclass(frozen=True)
class SealTo:
    """A public key of the asker's own, to which its credential is sealed."""

    kty: str
    crv: str
    x: str
    y: str = ""

    def jwk(self) -> dict[str, str]:
        """The members that make the key, as a public JWK."""
        names = ("kty", "crv", *_COORDINATES[self.kty, self.crv])
        return {name: str(vars(self)[name]) for name in names}

    @property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint (SHA-256, base64url): the key's name everywhere."""
        text = json.dumps(self.jwk(), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode("ascii")).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


@dataclass(frozen=True)
class SealedAnswer:
    """The ciphertext of one lease's credential, which may be fetched again until then."""

    lease_id: str
    sealed: str
    until: datetime

    @property
    def id(self) -> str:
        """There is one for a lease at most."""
        return self.lease_id


def seal_to(jwk: Mapping[str, object]) -> SealTo:
    """Read a public JWK to seal to; raises InvalidRequest, which repeats nothing of it.

    Refused: private members and any other that we do not know, other types and curves, another
    spelling than canonical base64url, points off the curve or of small order, and keys that say
    they are for something else. `kid` is not used: a key is named by its thumbprint.
    """
    names = _COORDINATES.get((_text(jwk, "kty"), _text(jwk, "crv")))
    if names is None:
        raise InvalidRequest("seal_to must be a public JWK: EC P-256 or OKP X25519")
    if not {"kty", "crv", *names} <= jwk.keys() <= {"kty", "crv", *names} | _BESIDE:
        raise InvalidRequest("seal_to has a member that a public key of its type does not have")
    _check_purpose(jwk)
    key = SealTo(*(_text(jwk, name) for name in ("kty", "crv", *names)))
    if not _can_be_sealed_to([_coordinate(_text(jwk, name)) for name in names]):
        raise InvalidRequest("seal_to is no point that can be sealed to")
    return key


def _text(jwk: Mapping[str, object], name: str) -> str:
    found = jwk.get(name)
    return found if isinstance(found, str) else ""


def _check_purpose(jwk: Mapping[str, object]) -> None:
    """What the key says of its use must be ours (RFC 7517, 4.2 to 4.5)."""
    if jwk.get("use", "enc") != "enc" or jwk.get("alg", ALG) != ALG:
        raise InvalidRequest(f"seal_to is a key for another use than {ALG}")
    if jwk.get("key_ops", []) != []:  # what a public key of ECDH may do: nothing
        raise InvalidRequest("key_ops of seal_to must be empty")
    if "kid" in jwk and not _KID.fullmatch(_text(jwk, "kid")):
        raise InvalidRequest("kid of seal_to is not acceptable")


def _coordinate(spelled: str) -> bytes:
    """32 bytes in the one spelling of RFC 4648 section 5 without padding or stray bits."""
    raw = base64.urlsafe_b64decode(spelled + "=") if _SPELLED.fullmatch(spelled) else b""
    if len(raw) != 32 or base64.urlsafe_b64encode(raw).decode("ascii") != spelled + "=":
        raise InvalidRequest("a coordinate of seal_to is not 32 bytes of base64url")
    return raw


def _can_be_sealed_to(point: list[bytes]) -> bool:
    """Whether the point is on P-256 (SEC 1, 2.3.4), or a canonical one of large order (RFC 7748).

    Points of X25519's twist are good ones: the curve was chosen so.
    """
    if len(point) == 2:
        x, y = (int.from_bytes(raw, "big") for raw in point)
        return max(x, y) < _P256 and (y * y - (x * x * x - 3 * x + _P256_B)) % _P256 == 0
    u = int.from_bytes(point[0], "little")
    return u < _P25519 and u not in _SMALL_ORDER
