"""One target hangs while much is due on it: what a healthy one notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.direct import DirectDatabase
from bench.ground import FOUR, SECOND, Ground
from bench.growth.filling import Eyes, end_lazily, house, mint, mint_directly
from bench.growth.second import DIRECT, Second, second_target
from bench.load import Round, Side, run
from bench.report import Found, told
from bench.served import Served, Server, where

DUE = 100
SECONDS = 6.0
PATIENCE = 15.0
CLIENTS = 8
ASKERS = 4
MAKE_DUE = """
UPDATE leases SET due_at = clock_timestamp() WHERE target = 'second-db' AND state = 'active'
"""
UNENDED = "SELECT count(*) FROM leases WHERE state <> 'ended' AND target = 'second-db'"
Healthy = Callable[[], Round]


class Unsettled(Served):
    """Clients that do not wait until everything they minted is ended."""

    def settle(self, within: float = 0.0) -> int:
        """Not now."""
        return 0


def hanging(ground: Ground, rounds: int) -> list[Found]:
    """The healthy target's p99 with the other one silent, over without, for both sides."""
    told("", f"{CLIENTS} clients of a healthy target while another hangs with {DUE} leases due:")
    with second_target(ground, times__answer_within=10) as second:
        ours = [_broker(ground, second) for _ in range(rounds)]
        plain = [_openbao(ground, second) for _ in range(rounds)]
    return [
        Found("healthy target p99 with one hung / without: broker", "<= 1.5", ours),
        Found("healthy target p99 with one hung / without: OpenBao alone", "(none set)", plain),
    ]


def _broker(ground: Ground, second: Second) -> float:
    """Leases come due on the silent target, and others ask for more of it."""
    eyes = Eyes(ground)
    with house(ground, second.settings) as opened:
        mint(opened, DUE, SECOND)
    with Server(ground, second.settings):
        side = Unsettled(where(ground), FOUR)
        run(side, 2, 0.5)
        without = run(side, CLIENTS, SECONDS)
        second.wire.silent()
        eyes.do(MAKE_DUE)
        with _asking(Unsettled(where(ground), SECOND)):
            time.sleep(1)
            hung = run(side, CLIENTS, SECONDS)
            second.wire.up()
        eyes.do(MAKE_DUE)  # what the askers got before and after
        _until_gone(lambda: eyes.value(UNENDED))
    return _told("broker", without, hung)


def _openbao(ground: Ground, second: Second) -> float:
    """The same due at OpenBao itself, ended by its own workers."""
    eyes = Eyes(ground)
    mint_directly(ground, DUE, DIRECT)
    side: Side = DirectDatabase(ground.direct(), 4, patience=PATIENCE)
    without = run(side, CLIENTS, SECONDS)
    second.wire.silent()
    threading.Thread(target=end_lazily, args=[ground, DIRECT], daemon=True).start()
    time.sleep(1)
    hung = run(side, CLIENTS, SECONDS)
    second.wire.up()
    end_lazily(ground)
    _until_gone(lambda: eyes.roles("v-%"))
    return _told("OpenBao alone", without, hung)


@contextmanager
def _asking(side: Served) -> Iterator[None]:
    """Some who keep asking for the silent target, whatever they are told."""
    stopped = threading.Event()

    def ask() -> None:
        client = side.client()
        while not stopped.is_set():
            try:
                client.mint()
            except (RuntimeError, OSError):
                stopped.wait(0.1)

    threads = [threading.Thread(target=ask) for _ in range(ASKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _told(who: str, without: Round, hung: Round) -> float:
    """One line of the report; what failed took as long as one waited for it."""
    failed = sum(hung.failures.values())
    hung.latencies.extend([PATIENCE * 1000] * failed)
    told(
        f"  {who:14} without: {without.rate:6.1f}/s, p99 {without.at(0.99):8.1f} ms;"
        f" with: {hung.rate:6.1f}/s, p99 {hung.at(0.99):8.1f} ms, {failed} failed"
    )
    return hung.at(0.99) / without.at(0.99)


def _until_gone(left: Callable[[], float], within: float = 300.0) -> None:
    until = time.monotonic() + within
    while left():
        if time.monotonic() > until:
            raise RuntimeError("not everything was ended")
        time.sleep(0.2)
