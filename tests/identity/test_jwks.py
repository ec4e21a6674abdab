"""Issuers' keys: fetched rarely, never for strangers, bounded, and kept while they can be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.identity.place import Place
from valetkey.core.errors import NotReady, UntrustedIssuer
from valetkey.core.trust import IssuerRecord
from valetkey.identity.jose import BadToken
from valetkey.identity.jwks import KeySource, Pace, keys_of
from valetkey.identity.oidc import Outside, ProofReader
from valetkey.testing.issuer import Answer, public_jwk


@dataclass
class Ticks:
    """Monotonic time as a variable."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


def source(place: Place, ticks: Callable[[], float], pace: Pace | None = None) -> KeySource:
    """A key source of the workload issuer."""
    return KeySource(place.record(), pace or Pace(), monotonic=ticks)


def test_fifty_threads_cause_one_fetch(place: Place) -> None:
    """They share it, and all of them get their token verified."""
    reader = ProofReader.of([place.record()], {"workloads": Outside(at_once=50)})
    held = threading.Event()
    place.workloads.answer = Answer(after=held)
    tokens = [place.bot() for _ in range(50)]
    now = place.time.now()
    with ThreadPoolExecutor(50) as pool:
        results = [pool.submit(reader.read, token, "jkt", now) for token in tokens]
        held.set()
        assert all(result.result().subject for result in results)
    assert place.workloads.hits == 1


def test_an_unknown_issuer_causes_no_fetch(place: Place) -> None:
    """Not of anybody's keys."""
    with pytest.raises(UntrustedIssuer):
        place.exchange(place.form(place.bot(iss="https://evil.example")))
    assert [i.hits for i in (place.workloads, place.github, place.people)] == [0, 0, 0]


def test_unknown_kids_cause_one_fetch_per_cool_down(place: Place) -> None:
    """A flood of invented kids costs the issuer one fetch each 30 seconds."""
    ticks = Ticks()
    keys = source(place, ticks)
    keys.key(str(place.workloads.key.kid))
    for _ in range(20):
        with pytest.raises(BadToken):
            keys.key("invented")
    assert place.workloads.hits == 1
    ticks.at += 31
    for _ in range(20):
        with pytest.raises(BadToken):
            keys.key("invented")
    assert place.workloads.hits == 2


def test_a_new_key_is_found_after_the_cool_down(place: Place) -> None:
    """Rotation needs no restart."""
    ticks = Ticks()
    keys = source(place, ticks)
    keys.key(str(place.workloads.key.kid))
    place.workloads.rotate()
    ticks.at += 31
    assert keys.key(str(place.workloads.key.kid))


def test_a_withdrawn_key_is_forgotten_after_its_ttl(place: Place) -> None:
    """The set is fetched again when it is old."""
    ticks = Ticks()
    keys = source(place, ticks)
    old = str(place.workloads.key.kid)
    keys.key(old)
    place.workloads.rotate()
    place.workloads.shown = place.workloads.shown[1:]
    ticks.at += 301
    with pytest.raises(BadToken):
        keys.key(old)


def test_the_last_good_keys_are_kept_while_the_issuer_is_away_but_not_for_ever(
    place: Place,
) -> None:
    """They serve for a bounded time; after it we are not ready, and say so."""
    ticks = Ticks()
    keys = source(place, ticks, Pace(keep=3600))
    kid = str(place.workloads.key.kid)
    keys.key(kid)
    place.workloads.answer = Answer(503)
    ticks.at += 3000
    assert keys.key(kid)
    ticks.at += 601
    with pytest.raises(NotReady):
        keys.key(kid)
    place.workloads.answer = None
    ticks.at += 3
    assert keys.key(kid)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(302, b"", {"Location": "/elsewhere"}),
        Answer(200, b'{"keys": [' + b" " * 300_000 + b"]}"),
        Answer(200, b'{"keys": [], "keys": []}'),
        Answer(200, b"<html>"),
        Answer(200, b'{"keys": {}}'),
        Answer(200, b'{"keys": [' + b",".join([b"{}"] * 101) + b"]}"),
    ],
    ids=["error", "redirect", "too large", "repeated name", "no JSON", "no list", "too many keys"],
)
def test_an_answer_that_is_not_a_plain_small_key_set_is_not_taken(
    place: Place, answer: Answer
) -> None:
    """No redirect is followed, and nothing is believed of a broken answer."""
    place.workloads.answer = answer
    with pytest.raises(NotReady):
        source(place, Ticks()).key("k")
    assert place.workloads.hits == 1


def test_inline_keys_cause_no_fetch(place: Place) -> None:
    """A record can hold the keys itself."""
    jwks = {"keys": [public_jwk(place.workloads.key)]}
    keys = KeySource(place.record(jwks=jwks, jwks_uri=None))
    assert keys.key(str(place.workloads.key.kid))
    assert place.workloads.hits == 0


def test_two_keys_of_one_kid_are_both_left_out(place: Place) -> None:
    """Which of them is meant is not ours to guess."""
    jwk = public_jwk(place.workloads.key)
    assert not keys_of({"keys": [jwk, jwk]})


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks_uri": "http://issuer.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://127.0.0.1.evil.example/"},
        {"jwks_uri": None},
        {"jwks": {"keys": []}},
        {"algorithms": frozenset({"HS256"})},
        {"algorithms": frozenset({"none"})},
        {"algorithms": frozenset()},
        {"audience": ""},
        {"typ": frozenset({"JWT"})},
    ],
    ids=str,
)
def test_an_issuer_record_that_cannot_be_checked_safely_cannot_be_made(
    place: Place, changes: dict[str, object]
) -> None:
    """Keys over https or loopback, named asymmetric algorithms, an audience."""
    with pytest.raises(ValueError, match="issuer workloads"):
        place.record(**changes)


def test_a_record_does_not_print_its_keys() -> None:
    """They are public, but long."""
    jwks: dict[str, object] = {"keys": []}
    record = IssuerRecord("n", "https://i", "ci", "a", frozenset({"ES256"}), jwks=jwks)
    assert "keys" not in repr(record)
