"""Opening sealed answers with nothing but `cryptography`, after the text of the RFCs."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

Private = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
ALG, ENC = "ECDH-ES+A256KW", "A256GCM"


def raw(text: str) -> bytes:
    """Decode base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def spelled(what: bytes) -> str:
    """Encode the same."""
    return base64.urlsafe_b64encode(what).rstrip(b"=").decode()


def fresh(kind: str = "EC") -> Private:
    """A private key of an asker."""
    if kind == "EC":
        return ec.generate_private_key(ec.SECP256R1())
    return x25519.X25519PrivateKey.generate()


def public_jwk(key: Private) -> dict[str, str]:
    """Its public part as a JWK (RFC 7517), nothing beside."""
    if isinstance(key, x25519.X25519PrivateKey):
        return {"kty": "OKP", "crv": "X25519", "x": spelled(key.public_key().public_bytes_raw())}
    numbers = key.public_key().public_numbers()
    x, y = (spelled(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def header_of(sealed: str) -> dict[str, Any]:
    """The protected header of a compact JWE."""
    found: dict[str, Any] = json.loads(raw(sealed.split(".")[0]))
    return found


def opened(sealed: str, key: Private) -> Any:
    """The credential in a compact JWE (RFC 7516, 5.2; RFC 7518, 4.6); raises for another key."""
    head, wrapped, nonce, ciphertext, tag = sealed.split(".")
    header = header_of(sealed)
    assert (header["alg"], header["enc"]) == (ALG, ENC)
    info = b"".join(struct.pack(">I", len(x)) + x for x in (ALG.encode(), b"", b""))
    info += struct.pack(">I", 256)
    derived = ConcatKDFHash(SHA256(), 32, info).derive(_agreed(key, header["epk"]))
    content = aes_key_unwrap(derived, raw(wrapped))
    return json.loads(AESGCM(content).decrypt(raw(nonce), raw(ciphertext) + raw(tag), head.encode()))


def _agreed(key: Private, epk: dict[str, str]) -> bytes:
    if isinstance(key, x25519.X25519PrivateKey):
        return key.exchange(x25519.X25519PublicKey.from_public_bytes(raw(epk["x"])))
    x, y = (int.from_bytes(raw(epk[name]), "big") for name in ("x", "y"))
    return key.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
