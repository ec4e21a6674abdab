"""Replicas: any number of them share what is due, and any may die at any instant (F34, I15).

`make test` runs them small; `VALETKEY_FAULT_ROUNDS=50` (`make faults`) ten thousand leases and
fifteen kills.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.contract.databases import Databases
from tests.faults.rows import row
from tests.fleet.fleet import Fleet, fleet, histogram, rounds
from valetkey.store.sql_store import open_store

FOUR = ("ann", "ben", "cleo", "dan")
FULL = rounds() >= 50
LEASES = 10_000 if FULL else 1_000
SLACK = 2.5  # seconds that a loaded machine of two cores may take on top
MakeFleet = Callable[..., AbstractContextManager[Fleet]]


@pytest.fixture
def make_fleet(databases: Databases, tmp_path: Path) -> MakeFleet:
    """Makes a fleet on a database of its own."""
    name = databases.fresh()
    app = databases.app(name)
    return partial(fleet, (app, databases.superuser(name)), tmp_path, open_store(app, pool=2))


@row("F34", "I11")
@pytest.mark.timeout(600)
def test_four_replicas_share_what_is_due_and_end_each_once(make_fleet: MakeFleet) -> None:
    """All due at once: none is missed, next to none is ended twice, every replica did its part."""
    with make_fleet(tick=1.0, claim=20.0) as replicas:
        replicas.send_out(*FOUR)
        began = time.monotonic()
        replicas.write(LEASES, replicas.store.now() + timedelta(seconds=1 + LEASES / 5000))
        replicas.until_all_ended(within=400)
        took = time.monotonic() - began
        ends, lags = replicas.ends(), replicas.lags()
        print(f"{LEASES} leases in {took:.1f} s: {ends}, slowest {lags[-1]:.1f} s after due")
        assert LEASES <= sum(ends.values()) <= 1.01 * LEASES
        assert not any((replicas.folder / "alive").iterdir())
        assert sorted(ends) == sorted(FOUR)
        assert min(ends.values()) >= 0.05 * LEASES
        assert_told_once(replicas, LEASES)


@row("F06", "I15")
@pytest.mark.timeout(600)
def test_replicas_killed_at_random_leave_nothing_late(make_fleet: MakeFleet) -> None:
    """Due work waits a tick and, when its claimer was killed, a claim; nothing waits longer."""
    seed, kills = 20260102, 15 if FULL else 2
    chance = random.Random(seed)
    with make_fleet(tick=0.2, claim=2.0, takes=0.2) as replicas:
        replicas.send_out(*FOUR)
        count = kills * 320
        pace = timedelta(milliseconds=10)
        replicas.write(count, replicas.store.now() + timedelta(seconds=0.5), pace)
        for number in range(kills):
            threading.Event().wait(1.6 + chance.random())  # the moment is chance: that is the point
            replicas.kill(chance.choice(sorted(replicas.processes)))
            replicas.send_out(f"heir-{number}")
        replicas.until_all_ended(within=60)
        ends, lags = sum(replicas.ends().values()), replicas.lags()
        print(f"seed {seed}: {count} leases, {kills} kills, {ends} ends\n{histogram(lags, 0.25)}")
        assert lags[-1] > replicas.claim / 2  # some were claimed by the killed
        assert lags[-1] <= 2 * replicas.tick + replicas.claim + SLACK
        assert lags[len(lags) // 2] <= 2 * replicas.tick + SLACK / 2
        assert ends <= count + 64 * kills  # no more is done again than the killed had claimed
        assert not any((replicas.folder / "alive").iterdir())
        assert_told_once(replicas, count)


def assert_told_once(replicas: Fleet, leases: int) -> None:
    """Each lease is ended with the best proof, told once, and its fence only ever rose (I9, I11)."""
    proofs = replicas.look("SELECT proof, count(*) FROM leases GROUP BY 1")
    assert proofs == [("verified", leases)]
    told = "SELECT count(*), count(DISTINCT lease_id) FROM facts WHERE kind = 'LeaseEnded'"
    assert replicas.look(told) == [(leases, leases)]
    fell = """
        SELECT count(*) FROM (
            SELECT (body ->> 'fence')::bigint AS fence,
                   lag((body ->> 'fence')::bigint) OVER (PARTITION BY lease_id ORDER BY number) AS p
            FROM facts WHERE lease_id IS NOT NULL) AS told
        WHERE fence <= p
    """
    assert replicas.look(fell) == [(0,)]

