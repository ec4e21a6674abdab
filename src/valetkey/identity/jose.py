"""Strict reading of compact signed tokens (RFC 7515, 7517, 7519, hardened after RFC 8725).

Everything that libraries let pass is refused here: repeated names, NaN, booleans and floats for
times, non-canonical base64url, header members we do not know, weak or private keys. What was
read but not yet verified keeps the prefix `unverified_`; `verified_claims` is the only way on
(and `seen`, for what it found good before).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType, NoReturn

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

VerifiedClaims = NewType("VerifiedClaims", dict[str, object])

DEEPEST: Final = 16
MAX_TOKEN: Final = 8192
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")
_KID: Final = re.compile(r"[A-Za-z0-9._~=-]{1,128}")
_MEMBERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES: Final = {
    "ES256": ("P-256", 32),
    "ES384": ("P-384", 48),
    "ES512": ("P-521", 66),
}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDWARDS: Final = frozenset({"EdDSA", "Ed25519"})
_SMALLEST_RSA, _LARGEST_RSA = 2048, 8192
_LAST_INSTANT: Final = 2**53


class BadToken(Exception):
    """A token or key that is not as it must be; the message holds nothing of what was sent."""


@dataclass(frozen=True)
class UnverifiedJws:
    """A well-formed compact JWS whose signature nobody has looked at yet."""

    unverified_header: Mapping[str, object]
    unverified_payload: bytes
    signing_input: bytes
    signature: bytes

    @property
    def alg(self) -> str:
        """The algorithm that the header names; to be compared with an allow-list."""
        return str(self.unverified_header["alg"])

    def typ(self) -> str:
        """The media type that the header names, lower-case; "" when absent."""
        return str(self.unverified_header.get("typ", "")).lower()

    def kid(self) -> str:
        """The key id; raises BadToken when it is absent."""
        kid = self.unverified_header.get("kid")
        if kid is None:
            raise BadToken("the header has no kid")
        return str(kid)

    def unverified_claims(self) -> dict[str, object]:
        """The payload as a strict JSON object, before verification."""
        return strict_object(self.unverified_payload)


@dataclass(frozen=True)
class VerifyingKey:
    """A public key, with the algorithms it may verify and its RFC 7638 thumbprint."""

    key: ECKey | RSAKey | OKPKey
    algorithms: frozenset[str]
    thumbprint: str


def read_compact(token: object, also: frozenset[str] = frozenset()) -> UnverifiedJws:
    """Read a compact JWS; `also` are header members allowed beyond alg, kid, typ, x5t.

    Raises BadToken for anything but three canonical base64url segments within 8 KiB whose
    header is a strict JSON object of known members (RFC 7515 section 5.2).
    """
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        raise BadToken("the token is missing or larger than 8 KiB")
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("the token is not a compact JWS of three parts")
    head, payload, signature = (decode_segment(part) for part in parts)
    header = strict_object(head)
    _check_header(header, _MEMBERS | also)
    signing_input = token.rpartition(".")[0].encode("ascii")
    return UnverifiedJws(header, payload, signing_input, signature)


def _check_header(header: Mapping[str, object], known: frozenset[str]) -> None:
    if not header.keys() <= known:
        raise BadToken("the header has a member that is not accepted")
    if any(not isinstance(header[name], str) for name in header.keys() & _MEMBERS):
        raise BadToken("a header member is not a text")
    if "alg" not in header:
        raise BadToken("the header has no alg")
    kid = header.get("kid")
    if kid is not None and not _KID.fullmatch(str(kid)):
        raise BadToken("the kid is not acceptable")


def decode_segment(text: str) -> bytes:
    """Decode canonical base64url without padding; raises BadToken for any other spelling."""
    if not _SEGMENT.fullmatch(text) or len(text) % 4 == 1:
        raise BadToken("a part is not base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if text[-1] != encode_segment(raw)[-1]:
        raise BadToken("a part is not canonical base64url")
    return raw


def encode_segment(raw: bytes) -> str:
    """Encode as base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def strict_object(raw: bytes) -> dict[str, object]:
    """Parse one JSON object; raises BadToken for anything that is not strict JSON.

    Repeated names, NaN, infinities, lone surrogates and nesting deeper than 16 are refused.
    """
    try:
        found = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        raise BadToken("a part is not strict JSON") from None
    if not isinstance(found, dict):
        raise BadToken("a part is not a JSON object")
    if not _shallow(found):
        raise BadToken("a part is nested too deeply")
    return found


def _shallow(found: object) -> bool:
    """Whether nothing is nested deeper than DEEPEST; walks without recursion."""
    waiting = [(found, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            return False
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
    return True


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated name")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def verifying_key(jwk: Mapping[str, object]) -> VerifyingKey:
    """Import one public JWK (RFC 7517, 7518 section 6, 8037).

    Raises BadToken for private or symmetric keys, keys not for signatures, RSA outside
    2048 to 8192 bits or with an exponent that is even or below 65537, and other curves.
    """
    if _PRIVATE & jwk.keys():
        raise BadToken("the key holds a private or symmetric part")
    if jwk.get("use", "sig") != "sig" or not _may_verify(jwk.get("key_ops")):
        raise BadToken("the key is not for signatures")
    try:
        key, algorithms = _import(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        raise BadToken("the key cannot be read") from None
    named = jwk.get("alg")
    if named is not None:
        algorithms &= _spellings(str(named))
    if not algorithms:
        raise BadToken("the key and its algorithm do not belong together")
    return VerifyingKey(key, algorithms, key.thumbprint())


def _spellings(alg: str) -> frozenset[str]:
    return _EDWARDS if alg in _EDWARDS else frozenset({alg})


def _may_verify(key_ops: object) -> bool:
    return key_ops is None or (isinstance(key_ops, list) and "verify" in key_ops)


def _import(jwk: Mapping[str, object]) -> tuple[ECKey | RSAKey | OKPKey, frozenset[str]]:
    if jwk.get("kty") == "EC":
        for alg, (curve, size) in _CURVES.items():
            if jwk.get("crv") == curve:
                return ECKey.import_key(_coordinates(jwk, ("x", "y"), size)), frozenset({alg})
    if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
        return OKPKey.import_key(_coordinates(jwk, ("x",), 32)), _EDWARDS
    if jwk.get("kty") == "RSA":
        _check_rsa(jwk)
        return RSAKey.import_key(_texts(jwk, ("kty", "n", "e"))), _RSA
    raise BadToken("the key is of a type or curve that is not accepted")


def _texts(jwk: Mapping[str, object], names: tuple[str, ...]) -> dict[str, str | list[str]]:
    return {name: str(jwk[name]) for name in names}


def _coordinates(
    jwk: Mapping[str, object], names: tuple[str, ...], size: int
) -> dict[str, str | list[str]]:
    if any(len(decode_segment(str(jwk[name]))) != size for name in names):
        raise BadToken("a coordinate of the key has the wrong size")
    return _texts(jwk, ("kty", "crv", *names))


def _check_rsa(jwk: Mapping[str, object]) -> None:
    raw_n, raw_e = (decode_segment(str(jwk[name])) for name in ("n", "e"))
    n, e = int.from_bytes(raw_n), int.from_bytes(raw_e)
    if raw_n[0] == 0 or raw_e[0] == 0:
        raise BadToken("a number of the key is not in its shortest form")
    if not _SMALLEST_RSA <= n.bit_length() <= _LARGEST_RSA:
        raise BadToken("the RSA key is too small or too large")
    if e < 65537 or e % 2 == 0 or e.bit_length() > 64:
        raise BadToken("the RSA exponent is not acceptable")


def verified_claims(jws: UnverifiedJws, key: VerifyingKey) -> VerifiedClaims:
    """Check the signature with this key, then read the payload; raises BadToken for either."""
    if jws.alg not in key.algorithms:
        raise BadToken("the algorithm and the key do not belong together")
    algorithm = JWSRegistry.algorithms[jws.alg]
    try:
        good = algorithm.verify(jws.signing_input, jws.signature, key.key)
    except (JoseError, ValueError):
        good = False
    if not good:
        raise BadToken("the signature does not verify")
    return VerifiedClaims(jws.unverified_claims())


def instant(claims: Mapping[str, object], name: str) -> int:
    """A time claim in whole seconds since 1970; raises BadToken unless a JSON integer."""
    found = claims.get(name)
    if type(found) is not int or not 0 <= found <= _LAST_INSTANT:
        raise BadToken(f"{name} is missing or not a whole number of seconds")
    return found


def text(claims: Mapping[str, object], name: str, longest: int = 255) -> str:
    """A claim that is a printable text of 1 to `longest` characters; raises BadToken."""
    found = claims.get(name)
    if not isinstance(found, str) or not 1 <= len(found) <= longest or not found.isprintable():
        raise BadToken(f"{name} is missing, too long or not printable text")
    return found
