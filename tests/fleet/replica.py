"""One replica of the clock as a process: the real store and the real sweep over a folder.

    python -m tests.fleet.replica URL FOLDER NAME TICK CLAIM TAKES

It prints one line when it ticks, and runs until it is killed.
"""

from __future__ import annotations

import random
import secrets
import signal
import sys
from datetime import timedelta
from pathlib import Path

from tests.fleet.folder_minter import NAME, FolderMinter
from valetkey.clockwork import Beats, Clockwork
from valetkey.core.lease import Patience
from valetkey.identity.sealing import seal
from valetkey.minters.bounded import ThreadLanes
from valetkey.ports import Broker, RuleSet
from valetkey.store.sql_store import open_store
from valetkey.testing.fake_clock import FakeClock, KeptAlarms
from valetkey.testing.memory_store import MemoryStore

HOUR = timedelta(hours=1)


def no_rules() -> RuleSet:
    """Nobody asks anything here."""
    raise LookupError("no rules")


def main(url: str, folder: str, name: str, tick: str, claim: str, takes: str) -> None:
    """Tick until killed; durations are in seconds."""
    store = open_store(url, pool=10)
    broker = Broker(
        store=store,
        minters={NAME: FolderMinter(Path(folder), name, float(takes))},
        rules=no_rules,
        clock=FakeClock(MemoryStore()),  # a sweep waits for nothing
        lanes=ThreadLanes(),
        notifier=KeptAlarms(),
        new_id=lambda kind: f"{kind}_{secrets.token_hex(8)}",
        fingerprint=str,
        seal=seal,
        jitter=random.random,
        installation=store.installation(),
        patience=Patience(claim=timedelta(seconds=float(claim))),
    )
    clockwork = Clockwork(broker, Beats(timedelta(seconds=float(tick)), HOUR, HOUR))
    clockwork.start()
    print("ticking", flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(*sys.argv[1:7])
