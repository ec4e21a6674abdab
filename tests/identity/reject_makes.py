"""Ways of making a token that is wrong in one thing, at any slot."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from joserfc.jwk import ECKey

from tests.identity.reject_slots import Slot, decoded
from valetkey.testing.issuer import WITHOUT, hmac_compact, public_jwk, segment

Make = Callable[[Slot], str]
ODD: dict[str, object] = {
    "missing": WITHOUT,
    "a-float": 1e9 + 0.5,
    "a-text": "2000000000",
    "true": True,
    "null": None,
    "negative": -1,
    "beyond-2^53": 2**53 + 1,
}
"""What is no time (RFC 7519 section 2, NumericDate, as whole seconds)."""


def head(**changes: object) -> Make:
    """A changed header."""
    return lambda slot: slot.signed(head=changes)


def said(**changes: object) -> Make:
    """Changed claims."""
    return lambda slot: slot.signed(said=changes)


def later(**seconds: int) -> Make:
    """Claims with times relative to now."""
    return lambda slot: slot.signed(
        said={name: int(slot.place.now) + value for name, value in seconds.items()}
    )


def parts(change: Callable[[list[str]], str]) -> Make:
    """A good token whose three parts are put together otherwise."""
    return lambda slot: change(slot.signed().split("."))


def header_bytes(change: Callable[[bytes], bytes]) -> Make:
    """Other bytes for a header, and the rest as it was."""
    return parts(lambda p: f"{segment(change(decoded(p[0])))}.{p[1]}.{p[2]}")


def payload(change: Callable[[bytes], bytes]) -> Make:
    """Other bytes for the claims, well signed."""
    return lambda slot: slot.raw(slot.head, change(json.dumps(slot.said).encode()))


def with_member(raw: bytes) -> Make:
    """The claims with one member more, as bytes."""
    return payload(lambda good: good[:-1] + b"," + raw + b"}")


def json_form(slot: Slot) -> str:
    """The JSON serialisation of JWS."""
    head, body, signature = slot.signed().split(".")
    return json.dumps({"protected": head, "payload": body, "signature": signature})


def none(spelling: str, signature: str = "") -> Make:
    """Unsigned, under this spelling of `none`."""

    def make(slot: Slot) -> str:
        first = segment(json.dumps({**slot.head, "alg": spelling}).encode())
        return f"{first}.{slot.signed().split('.')[1]}.{signature}"

    return make


def by_hmac(slot: Slot) -> str:
    """HS256 with the public key as the shared secret."""
    return hmac_compact({**slot.head, "alg": "HS256"}, slot.said, slot.key.as_pem(private=False))


def misnamed(alg: str) -> Make:
    """Signed with the right key, under the name of an algorithm that is not the key's."""
    return headed(alg=alg)


def own_key(make: Callable[[], Any], alg: str) -> Make:
    """Signed with another kind of key, which is shown wherever this slot's key is."""

    def made(slot: Slot) -> str:
        key = make()
        changes: dict[str, object] = {"alg": alg}
        if slot.issuer is not None:
            slot.issuer.shown.append({**public_jwk(key), "kid": f"odd-{alg}"})
            changes["kid"] = f"odd-{alg}"
        if "jwk" in slot.head:
            changes["jwk"] = public_jwk(key)
        return slot.signed(changes, key=key)

    return made


def stranger(slot: Slot) -> str:
    """Signed by somebody else under the right kid."""
    return slot.signed(key=ECKey.generate_key("P-256"))


def mixed(slot: Slot) -> str:
    """The claims of one token under the signature of another."""
    first, second = slot.signed(), slot.signed(said={"jti": "another"})
    return first.rpartition(".")[0] + "." + second.rpartition(".")[2]


def headed(**changes: object) -> Make:
    """Changed header members under a signature that was made before."""
    return header_bytes(lambda raw: json.dumps({**json.loads(raw), **changes}).encode())


def without_alg(raw: bytes) -> bytes:
    """The header without `alg`."""
    return json.dumps({k: v for k, v in json.loads(raw).items() if k != "alg"}).encode()
