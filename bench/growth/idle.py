"""Idle cost: what one replica asks of PostgreSQL, and of the processor, while nobody asks it."""

from __future__ import annotations

import time

from bench.ground import Ground
from bench.growth.filling import Eyes, variant
from bench.report import Found, told
from bench.served import Server

WINDOW = 20.0
WINDOWS = 3


def idle(ground: Ground) -> list[Found]:
    """Every statement is in PostgreSQL's log, in as many windows; the tick is a second."""
    told("", "Idle cost of one replica, a tick of 1 s, upkeep every 30 s, reconcile every minute:")
    log = ground.stack.folder.logs / "postgres.log"
    eyes = Eyes(ground)
    eyes.do("ALTER DATABASE valetkey SET log_statement = 'all'")
    asked, used = [], []
    with Server(ground, variant(ground, "idle", times__tick="PT1S")) as server:
        time.sleep(3)
        for _ in range(WINDOWS):
            began, before, spent = time.monotonic(), log.stat().st_size, server.processor()
            time.sleep(WINDOW)
            took = time.monotonic() - began
            with log.open("rb") as file:
                file.seek(before)
                asked.append(_statements(file.read()) / took)
            used.append((server.processor() - spent) / took)
    eyes.do("ALTER DATABASE valetkey RESET log_statement")
    share = ", ".join(f"{100 * value:.1f} %" for value in used)
    told(f"  statements per second {asked}", f"  of a core {share}")
    return [
        Found("idle replica: statements per second", "<= 3", asked),
        Found("idle replica: share of a core, in %", "<= 1", [100 * value for value in used]),
    ]


def _statements(logged: bytes) -> int:
    """Statements begun, BEGIN and COMMIT among them, in either protocol."""
    return sum(b"LOG:  statement: " in x or b"LOG:  execute " in x for x in logged.splitlines())
