"""Open routes are cheap: one look at the back ends at a time, however many ask."""

from __future__ import annotations

import itertools
import threading

import pytest

from valetkey.core.errors import StoreUnavailable
from valetkey.web.recent import Recent


def test_a_look_holds_for_a_moment() -> None:
    """A crowd of askers is one question to the back ends."""
    looks = itertools.count(1)
    recent = Recent(lambda: next(looks), lambda: 0, seconds=60)
    assert [recent() for _ in range(100)] == [1] * 100
    assert Recent(lambda: next(looks), lambda: 0, seconds=0)() == 2


def test_nobody_waits_for_a_look_that_hangs() -> None:
    """Others are told so at once, and hold no thread meanwhile."""
    looking, go_on = threading.Event(), threading.Event()

    def hang() -> str:
        looking.set()
        assert go_on.wait(10)
        return "seen"

    recent = Recent(hang, lambda: "not yet", seconds=60)
    taker = threading.Thread(target=recent)
    taker.start()
    assert looking.wait(10)
    assert recent() == "not yet"
    go_on.set()
    taker.join()
    assert recent() == "seen"


def test_a_look_that_fails_is_taken_again() -> None:
    """An outage is not remembered."""
    fails = [True, False]

    def look() -> str:
        if fails.pop(0):
            raise StoreUnavailable()
        return "seen"

    recent = Recent(look, lambda: "not yet")
    with pytest.raises(StoreUnavailable):
        recent()
    assert recent() == "seen"
