"""Keys to seal to: one spelling, one name, and nothing that a private key could not have."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from hypothesis import example, given
from hypothesis import strategies as some
from joserfc.jwk import ECKey, OKPKey

from valetkey.core.errors import InvalidRequest
from valetkey.core.sealing import ALG, seal_to

Jwk = dict[str, object]
ORDER = 2**255 - 19
SMALL = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
"""RFC 7748's points of small order, as lists of them have them, two of them in other spellings."""


def spelled(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def p256() -> Jwk:
    """A fresh public key on P-256."""
    return dict(ECKey.generate_key("P-256").as_dict(private=False)) | {"kid": "mine"}


def curve25519(raw: bytes | None = None) -> Jwk:
    """A public key for X25519."""
    fresh = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "X25519", "x": spelled(raw if raw is not None else fresh)}


@pytest.mark.parametrize("kind", ["EC", "OKP"])
def test_a_public_key_keeps_what_makes_it_and_its_own_name(kind: str) -> None:
    """Its thumbprint is that of RFC 7638 as others compute it; what stands beside it is dropped."""
    curve = {"EC": "P-256", "OKP": "X25519"}[kind]
    key = {"EC": ECKey, "OKP": OKPKey}[kind].generate_key(curve)  # type: ignore[attr-defined]
    jwk = key.as_dict(private=False)
    beside = {"kid": "mine", "use": "enc", "alg": ALG, "key_ops": []}
    read = seal_to({**jwk, **beside})
    assert read.thumbprint == key.thumbprint()
    assert read == seal_to(read.jwk())
    assert read.jwk().keys() == {"kty", "crv", "x"} | ({"y"} if kind == "EC" else set())


GOOD = p256()
X, Y = str(GOOD["x"]), str(GOOD["y"])
CHANGES: dict[str, Jwk] = {
    "its private part": {"d": X},
    "its private part, empty": {"d": ""},
    "a symmetric part": {"k": X},
    "a certificate to fetch": {"x5u": "https://elsewhere.example"},
    "a member of another kind": {"n": X},
    "another type": {"kty": "RSA"},
    "another type in capitals": {"kty": "ec"},
    "no text as its type": {"kty": ["EC"]},
    "another curve": {"crv": "P-384"},
    "a curve that is not for this": {"kty": "OKP", "crv": "Ed25519"},
    "the other kind's curve": {"crv": "X25519"},
    "y left out": {"y": ""},
    "x as a number": {"x": 4},
    "x with padding": {"x": X + "="},
    "x with a line": {"x": X + "\n"},
    "x huge": {"x": X * 1000},
    "x in base64": {"x": "+" + X[1:]},
    "x in other letters": {"x": "é" + X[1:]},
    "x with stray bits": {"x": X[:-1] + chr(ord("A") + 1)},
    "x and y exchanged": {"x": Y, "y": X},
    "the point at infinity": {"x": spelled(bytes(32)), "y": spelled(bytes(32))},
    "x beyond the field": {"x": spelled(b"\xff" * 32)},
    "for signatures": {"use": "sig"},
    "an empty use": {"use": ""},
    "another algorithm": {"alg": "ECDH-ES"},
    "no algorithm": {"alg": "none"},
    "null as its algorithm": {"alg": None},
    "for signing": {"key_ops": ["sign"]},
    "no list of operations": {"key_ops": {}},
    "an empty kid": {"kid": ""},
    "a kid of lines": {"kid": "a\nb"},
    "a long kid": {"kid": "k" * 129},
    "a list as its kid": {"kid": []},
}
"""What may be wrong with a key of P-256, one thing each."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_key_with_one_thing_wrong_is_refused_without_an_echo(change: str) -> None:
    """Private, for another use, off the curve, or in another spelling; nothing of it is repeated."""
    jwk = GOOD | CHANGES[change]
    with pytest.raises(InvalidRequest) as refused:
        seal_to(jwk)
    for value in jwk.values():
        assert len(str(value)) < 12 or str(value) not in str(refused.value)


@given(some.integers(0, 2**256 - 1), some.integers(0, 2**256 - 1))
@example(0, 0)
@example(2**256 - 2**224 + 2**192 + 2**96 - 1, 1)
def test_a_point_is_taken_exactly_when_it_is_on_the_curve(x: int, y: int) -> None:
    """As `cryptography` judges it."""
    jwk: Jwk = {"kty": "EC", "crv": "P-256"}
    jwk |= {"x": spelled(x.to_bytes(32, "big")), "y": spelled(y.to_bytes(32, "big"))}
    assert taken(jwk) == on_curve(x, y)


@given(some.integers(1, 2**256))
def test_every_real_public_key_of_p256_is_taken_and_its_neighbours_are_not(secret: int) -> None:
    """Whatever the private key; one step beside it lies nothing."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    point = ec.derive_private_key(secret % (order - 1) + 1, ec.SECP256R1()).public_key()
    numbers = point.public_numbers()
    x, y = (spelled(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    beside = spelled(((numbers.y + 1) % 2**256).to_bytes(32, "big"))
    assert taken({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    assert not taken({"kty": "EC", "crv": "P-256", "x": x, "y": beside})


@given(some.integers(0, 2**256 - 1))
def test_a_point_of_x25519_is_taken_in_its_one_spelling_and_gives_a_secret(number: int) -> None:
    """Canonical (RFC 7748, section 5), and its product with a private key is not zero."""
    raw = number.to_bytes(32, "little")
    assert taken(curve25519(raw)) == (number < ORDER and gives_a_secret(raw))


@pytest.mark.parametrize("point", SMALL)
def test_no_point_of_small_order_is_sealed_to(point: str) -> None:
    """With each of them everybody would know the secret; also in the spelling with the top bit."""
    raw = bytes.fromhex(point)
    assert not gives_a_secret(raw)
    assert not taken(curve25519(raw))
    assert not taken(curve25519(raw[:31] + bytes([raw[31] | 0x80])))


def taken(jwk: Jwk) -> bool:
    """Whether it may be sealed to."""
    try:
        seal_to(jwk)
    except InvalidRequest:
        return False
    return True


def on_curve(x: int, y: int) -> bool:
    """What `cryptography` says."""
    try:
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        return False
    return True


def gives_a_secret(raw: bytes) -> bool:
    """What `cryptography` says of the product, which it refuses when it is zero."""
    try:
        public = x25519.X25519PublicKey.from_public_bytes(raw)
        x25519.X25519PrivateKey.generate().exchange(public)
    except ValueError:
        return False
    return True
