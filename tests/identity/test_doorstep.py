"""A crowd at one issuer's door: who waits, who is told to come again, and who is not held up."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace

import pytest
from joserfc.jwk import ECKey

from tests.identity.place import TOKEN_URL, US, Place
from valetkey.core.errors import BrokerError, NotReady, RateLimited
from valetkey.identity.authenticator import Authenticator, Behind
from valetkey.identity.doorstep import MOST_KEYS, Places, Waits
from valetkey.identity.exchange import Exchanged
from valetkey.identity.jwks import fetch_bounded
from valetkey.identity.oidc import Outside


class Ticks:
    """Monotonic time as a variable."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def hanging(place: Place, held: threading.Event) -> Authenticator:
    """A replica that has no keys of the workloads' issuer, which does not answer until then."""

    def fetch(url: str) -> bytes:
        assert held.wait(60)
        return fetch_bounded(url)

    registered = replace(place.registered(), outside={"workloads": Outside(fetch)})
    behind = Behind(place.uses, place.bindings, place.time.now, place.told.append)
    return Authenticator(US, place.keys, registered, behind)


def enter(replica: Authenticator, place: Place, token: str, kind: str = "jwt") -> object:
    """Exchange at one replica that is kept."""
    kind = f"urn:ietf:params:oauth:token-type:{kind}"
    proof = place.dpop("POST", TOKEN_URL)
    return replica.exchange(place.form(token, kind), [proof], TOKEN_URL)


def outcome(replica: Authenticator, place: Place, token: str) -> str:
    """What an exchange came to."""
    try:
        enter(replica, place, token)
    except BrokerError as refused:
        return refused.code
    return "given"


def test_an_issuer_that_hangs_holds_few_and_nobody_elses(place: Place) -> None:
    """Eight wait, 32 are told to come again at once, and people and jobs get in meanwhile."""
    held = threading.Event()
    replica = hanging(place, held)
    tokens = [place.bot() for _ in range(40)]
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(outcome, replica, place, token) for token in tokens]
        try:
            turned = [one.result() for one in itertools.islice(as_completed(asked, 60), 32)]
            assert turned == ["not_ready"] * 32
            assert sum(one.done() for one in asked) == 32
            assert enter(replica, place, place.job())
            assert enter(replica, place, place.login(), "id_token")
        finally:
            held.set()
        assert [one.result() for one in asked].count("given") == 8
    assert place.workloads.hits == 1


def test_who_has_a_known_key_is_not_held_up_by_invented_ones(place: Place) -> None:
    """Every place is taken by invented key ids while the issuer hangs; the workload gets in."""
    replica = place.replica()
    enter(replica, place, place.bot())
    places = replica._exchange.reader._sources[place.workloads.url].places
    with ExitStack() as taken:
        for _ in range(8):
            taken.enter_context(places.taken())
        assert outcome(replica, place, place.bot({"kid": "invented"})) == "not_ready"
        assert outcome(replica, place, place.bot()) == "given"
    assert outcome(replica, place, place.bot({"kid": "invented"})) == "unauthenticated"


def test_a_place_is_given_back_whatever_happens() -> None:
    """After an error too; and nobody queues."""
    places = Places(1)
    for _ in range(3):
        with pytest.raises(KeyError), places.taken():
            with pytest.raises(NotReady), places.taken():
                pass
            raise KeyError


def limited(place: Place) -> Authenticator:
    """A replica that gives no more tokens for now."""

    def told(given: Exchanged) -> None:
        place.told.append(given)
        raise RateLimited("Too many requests.", retry_after=30)

    behind = Behind(place.uses, place.bindings, place.time.now, told)
    return Authenticator(US, place.keys, place.registered(), behind)


def test_a_key_that_was_told_to_wait_costs_nothing_until_then(place: Place) -> None:
    """Its next proofs are not looked at and stay unused; another key's are."""
    replica = limited(place)
    with pytest.raises(RateLimited):
        enter(replica, place, place.bot())
    used, fetched = len(place.uses.kept_until()), place.workloads.hits
    for token in (place.bot(), "nonsense", place.bot({"kid": "invented"})):
        with pytest.raises(RateLimited) as refused:
            enter(replica, place, token)
        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after <= 30
    assert (len(place.uses.kept_until()), place.workloads.hits) == (used, fetched)
    assert len(place.told) == 1
    place.dpop_key = ECKey.generate_key("P-256")
    with pytest.raises(RateLimited):
        enter(replica, place, place.bot())
    assert len(place.told) == 2


def test_a_wait_is_over_when_it_is() -> None:
    """Each key by itself, and an earlier wait does not shorten a later one."""
    ticks = Ticks()
    waits = Waits(ticks)
    waits.told("one", RateLimited(retry_after=5))
    waits.check("two")
    ticks.at = 4.9
    with pytest.raises(RateLimited) as refused:
        waits.check("one")
    assert refused.value.retry_after == 0.1
    ticks.at = 5.0
    waits.check("one")


def test_no_crowd_of_keys_fills_the_memory() -> None:
    """The longest told are forgotten first, and those whose wait is over before them."""
    ticks = Ticks()
    waits = Waits(ticks)
    for number in range(MOST_KEYS + 10):
        waits.told(f"key {number}", RateLimited(retry_after=60))
    assert len(waits._until) == MOST_KEYS
    waits.check("key 0")
    with pytest.raises(RateLimited):
        waits.check(f"key {MOST_KEYS + 9}")
    ticks.at = 61
    waits.told("late", RateLimited(retry_after=60))
    assert list(waits._until) == ["late"]
