"""Nonces of ours in DPoP proofs (RFC 9449 section 8): asked for, good for a while, kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

import pytest

from tests.identity.place import TOKEN_URL, Place
from valetkey.core.errors import BrokerError, InvalidDpopProof, UseDpopNonce
from valetkey.identity.nonces import WINDOW, Mac, Nonces


def mac(key: bytes) -> Mac:
    """A keyed hash."""
    return lambda text: hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def asked(place: Place, token: str, **claims: object) -> str:
    """The nonce that a call is answered with."""
    with pytest.raises(UseDpopNonce) as told:
        place.call(token, **claims)
    assert told.value.nonce
    return told.value.nonce


def opened(place: Place) -> str:
    """A token from before nonces were demanded."""
    token = place.token()
    place.nonces = Nonces(mac(b"one"))
    return token


def test_a_call_without_a_nonce_is_told_one_and_nothing_is_used_up(place: Place) -> None:
    """And with it, it passes, at any replica; a made-up one is told the same again."""
    token = opened(place)
    used = len(place.uses.kept_until())
    nonce = asked(place, token)
    assert asked(place, token, nonce="made-up") == nonce
    assert asked(place, token, nonce=7) == nonce
    assert len(place.uses.kept_until()) == used
    assert place.call(token, nonce=nonce).agent_id == "agent_bot"


def test_a_token_request_is_held_to_it_too(place: Place) -> None:
    """The platform's proof is not used up by the challenge, whose code is use_dpop_nonce."""
    place.nonces = Nonces(mac(b"one"))
    form = place.form(place.bot())
    with pytest.raises(UseDpopNonce) as told:
        place.exchange(form)
    assert told.value.extra["oauth_error"] == "use_dpop_nonce"
    proof = place.dpop("POST", TOKEN_URL, {"nonce": told.value.nonce})
    assert place.replica().exchange(form, [proof], TOKEN_URL)


def test_a_nonce_is_good_in_its_window_and_the_next(place: Place) -> None:
    """Then another is to be used."""
    nonces, began = Nonces(mac(b"one")), place.time.at
    nonce = nonces.current(began)
    nonces.check({"nonce": nonce}, began + WINDOW)
    with pytest.raises(UseDpopNonce) as told:
        nonces.check({"nonce": nonce}, began + 2 * WINDOW + timedelta(seconds=1))
    assert told.value.nonce not in ("", nonce)


def test_replicas_that_still_have_another_key_are_understood(place: Place) -> None:
    """After a rotation the older key is taken; a stranger's never."""
    now = place.time.at
    both = Nonces(mac(b"two"), [mac(b"one")])
    both.check({"nonce": Nonces(mac(b"one")).current(now)}, now)
    with pytest.raises(UseDpopNonce):
        both.check({"nonce": Nonces(mac(b"three")).current(now)}, now)


def test_a_bad_proof_is_told_no_nonce(place: Place) -> None:
    """Only a proof that is good but for the nonce is worth an answer."""
    token = opened(place)
    with pytest.raises(InvalidDpopProof):
        place.call(token, htm="POST")


def test_without_the_setting_nobody_asks(place: Place) -> None:
    """A nonce that a client sends all the same changes nothing."""
    token = place.token()
    assert place.call(token, nonce="whatever")
    with pytest.raises(BrokerError):
        place.call(token + "x")
