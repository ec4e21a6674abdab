"""Draining: many leases come due in one moment, and how fast they are ended, each proven."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench.ground import Ground
from bench.growth.filling import Eyes, end_lazily, house, mint, mint_directly
from bench.report import Found, told
from bench.served import Server

DUE = "UPDATE leases SET due_at = clock_timestamp() WHERE state = 'active'"
UNENDED = "SELECT count(*) FROM leases WHERE state <> 'ended'"
FIFTHS = 5


def draining(ground: Ground, count: int) -> list[Found]:
    """The broker's leases by its sweep; OpenBao's by its own workers, asked to do it lazily."""
    told("", f"Drain of {count} due database leases, four lanes, by fifths (per second):")
    eyes = Eyes(ground)
    with house(ground) as opened:
        mint(opened, count)
    with Server(ground, "four") as server:
        spent = server.processor()
        ours = _rates(count, lambda: eyes.do(DUE), lambda: int(eyes.value(UNENDED)))
        spent = (server.processor() - spent) * 1000 / count
    mint_directly(ground, count)
    plain = _rates(count, lambda: end_lazily(ground), lambda: eyes.roles("v-%"))
    told(f"  broker, each proven gone           {_row(ours)}   roles left: {eyes.roles('vk-%')}")
    told(f"  OpenBao, lazy revoke-prefix        {_row(plain)}   roles left: {eyes.roles('v-%')}")
    told(f"  broker process {spent:.1f} ms of CPU each")
    ratios = [one / other for one, other in zip(ours, plain, strict=True)]
    return [Found(f"drain of {count} due: rate / OpenBao lazy prefix, by fifths", ">= 0.8", ratios)]


def _rates(count: int, begin: Callable[[], None], left: Callable[[], int]) -> list[float]:
    """How many were ended each second while each fifth of them was."""
    began = time.perf_counter()
    beginning = threading.Thread(target=begin)
    beginning.start()
    rates: list[float] = []
    marks = [count - count * (number + 1) // FIFTHS for number in range(FIFTHS)]
    done, since = 0, began
    while marks:
        time.sleep(0.05)
        now, still = time.perf_counter(), left()
        if still <= marks[0]:
            while marks and still <= marks[0]:
                marks.pop(0)
                rates.append((count - still - done) / (now - since) if count - still > done else 0)
            done, since = count - still, now
        if now - began > 900:
            raise RuntimeError(f"{still} of {count} were not ended in 15 minutes")
    beginning.join()
    return rates


def _row(rates: list[float]) -> str:
    return " ".join(f"{rate:6.1f}" for rate in rates)
