"""Public keys that did not come as JWKs, as the JWKs that they are."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from valetkey.identity.jose import BadToken, encode_segment


def members_of(key: PublicKeyTypes) -> dict[str, object]:
    """The JWK of a key (RFC 7517), whatever its size; raises BadToken for kinds never accepted."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        raise BadToken("the key is of a kind that is not accepted")
    kind = ECKey if isinstance(key, ec.EllipticCurvePublicKey) else OKPKey
    try:
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return dict(kind.import_key(pem).as_dict(private=False))
    except (JoseError, ValueError, TypeError, UnsupportedAlgorithm):
        raise BadToken("the key is of a kind that is not accepted") from None


def _number(number: int) -> str:
    return encode_segment(number.to_bytes((number.bit_length() + 7) // 8))
