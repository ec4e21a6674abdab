"""A target goes away while leases on it are due, and comes back: when they are gone."""

from __future__ import annotations

import time

from bench.ground import SECOND, Ground
from bench.growth.filling import Eyes, end_lazily, house, mint, mint_directly
from bench.growth.hanging import MAKE_DUE
from bench.growth.second import DIRECT, second_target
from bench.report import Found, at, told
from bench.served import Server

WAIT = 120.0
OPENBAO_MIDDLE = 12 * 3600.0
"""After six tries OpenBao retries once a day (its expiration.go); the mean of what is left."""


def outage(ground: Ground, seconds: float, count: int) -> list[Found]:
    """Both sides in the same outage; then how long each of their roles outlives its end."""
    told("", f"{count} leases of each side due on a target that is away for {seconds:.0f} s:")
    eyes = Eyes(ground)
    with second_target(ground) as second:
        with house(ground, second.settings) as opened:
            mint(opened, count, SECOND)
        mint_directly(ground, count, DIRECT)
        with Server(ground, second.settings):
            second.wire.down()
            eyes.do(MAKE_DUE)
            end_lazily(ground, DIRECT)
            time.sleep(seconds)
            second.wire.up()
            ours, plain = _gone(eyes, count)
    for who, found in (("broker", ours), ("OpenBao alone", plain)):
        still = count - len(found)
        spoken = f"p50 {at(0.5, found):.1f} s, last {max(found):.1f} s" if found else "none"
        told(f"  {who:14} gone after its return: {spoken}; after {WAIT:.0f} s left: {still}")
    theirs = [*plain, *[WAIT] * (count - len(plain))]
    last = max(ours, default=WAIT) if len(ours) == count else WAIT
    known = last / OPENBAO_MIDDLE
    what = f"last gone after an outage of {seconds:.0f} s / OpenBao"
    return [
        Found(what, "(none set)", [last / max(theirs)]),
        Found("the same / OpenBao's mean wait after 20 min (known)", "<= 0.01", [known]),
    ]


def _gone(eyes: Eyes, count: int) -> tuple[list[float], list[float]]:
    """When each role went, in seconds since now, of the broker's and of the direct side's."""
    began = time.monotonic()
    sides: tuple[list[float], list[float]] = ([], [])
    while min(map(len, sides)) < count and time.monotonic() - began < WAIT:
        since = time.monotonic() - began
        for side, like in zip(sides, ("vk-%", "v-%"), strict=True):
            side.extend([since] * (count - eyes.roles(like) - len(side)))
        time.sleep(0.2)
    return sides
