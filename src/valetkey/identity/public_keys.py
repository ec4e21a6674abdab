"""Public keys that did not come as JWKs, as the JWKs that they are (RFC 7518 section 6, 8037)."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from valetkey.identity.jose import BadToken, encode_segment

_CURVES: Final = {
    "secp256r1": ("P-256", 32),
    "secp384r1": ("P-384", 48),
    "secp521r1": ("P-521", 66),
}


def members_of(key: PublicKeyTypes) -> dict[str, object]:
    """The JWK of a key, whatever its size; raises BadToken for kinds that are never accepted."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _shortest(numbers.n), "e": _shortest(numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encode_segment(key.public_bytes_raw())}
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise BadToken("the key is of a kind that is not accepted")
    curve, size = _CURVES[key.curve.name]
    point = key.public_numbers()
    x, y = (encode_segment(number.to_bytes(size)) for number in (point.x, point.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y}


def _shortest(number: int) -> str:
    return encode_segment(number.to_bytes((number.bit_length() + 7) // 8))
