"""Signatures that are remembered: only as they were, only by that key, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from valetkey.identity import seen
from valetkey.identity.jose import (
    BadToken,
    UnverifiedJws,
    VerifyingKey,
    encode_segment,
    read_compact,
)
from valetkey.identity.keys import SigningKeys
from valetkey.identity.seen import SeenSignatures


def signed(
    keys: SigningKeys, payload: bytes = b'{"jti":"one"}'
) -> tuple[UnverifiedJws, VerifyingKey]:
    """A token by these keys, read but not verified, and the key that verifies it."""
    jws = read_compact(keys.sign("at+jwt", payload))
    return jws, keys.verifying(jws.kid())


def test_a_signature_that_was_seen_is_good_again() -> None:
    """With the claims that were signed."""
    known = SeenSignatures()
    jws, key = signed(SigningKeys.generate())
    assert known.verified_claims(jws, key) == known.verified_claims(jws, key) == {"jti": "one"}


@pytest.mark.parametrize("changed", ["payload", "signature", "key", "boundary"])
def test_nothing_else_passes_for_one_that_was_seen(changed: str) -> None:
    """Another payload under its signature, another signature, another key, a moved boundary."""
    known, keys = SeenSignatures(), SigningKeys.generate()
    jws, key = signed(keys)
    known.verified_claims(jws, key)
    head, _, _ = jws.signing_input.partition(b".")
    other = f"{head.decode()}.{encode_segment(b'{}')}".encode()
    forged = {
        "payload": replace(jws, signing_input=other, unverified_payload=b"{}"),
        "signature": replace(jws, signature=jws.signature[:-1] + bytes([jws.signature[-1] ^ 1])),
        "key": jws,
        "boundary": replace(
            jws,
            signing_input=jws.signing_input + b"." + jws.signature[:1],
            signature=jws.signature[1:],
        ),
    }[changed]
    if changed == "key":
        key = signed(SigningKeys.generate())[1]
    for _ in range(2):
        with pytest.raises(BadToken):
            known.verified_claims(forged, key)


def test_the_oldest_are_forgotten() -> None:
    """However many tokens come, so many are remembered; nothing of a token is kept."""
    known, keys = SeenSignatures(), SigningKeys.generate()
    known._good = dict.fromkeys(number.to_bytes(32) for number in range(seen.MOST))
    jws, key = signed(keys)
    known.verified_claims(jws, key)
    assert len(known._good) == seen.MOST
    assert (0).to_bytes(32) not in known._good
    assert all(len(mark) == 32 for mark in known._good)
