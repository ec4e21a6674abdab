"""Size: claims and starts over millions of live leases, reconcile and doctor over many."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from statistics import median

from bench.compare import spread
from bench.ground import Ground
from bench.growth.filled import FACTS, Filled
from bench.growth.filling import house
from bench.report import Found, told
from bench.served import Server
from valetkey.flows.doctor import doctor
from valetkey.flows.reconcile import reconcile
from valetkey.ports import Broker
from valetkey.store.sql_store import SqlStore, open_store

CLAIMED = 100
CLAIM = timedelta(hours=7)
ROUNDS = 15
DUE = """
UPDATE leases SET due_at = clock_timestamp() - interval '1 second' WHERE id IN (
    SELECT 'lease_' || lpad((1 + floor(random() * {count}))::bigint::text, 26, '0')
    FROM generate_series(1, {due}))
"""


def claiming(ground: Ground, larger: int, smaller: int) -> list[Found]:
    """A claim of 100 due, and the look of an idle tick, in two databases by turns."""
    told("", f"Claim of {CLAIMED} due among {larger:,} live leases, and among {smaller:,}:")
    with ExitStack() as stack:
        sides = []
        for name, count in (("larger", larger), ("smaller", smaller)):
            began = time.monotonic()
            filled = stack.enter_context(Filled(ground, name, count))
            told(f"  {count:>11,} rows written in {time.monotonic() - began:.0f} s")
            store = open_store(filled.url(), pool=2)
            stack.callback(store.close)
            sides.append((filled, store))
        for side in sides:
            _claim(*side)
        claims = [[_claim(*side) for side in sides] for _ in range(ROUNDS)]
        looks = [[_timed(store.due) for _, store in sides] for _ in range(ROUNDS)]
    for what, found in (("claim", claims), ("idle look", looks)):
        most, least = ([1000 * pair[side] for pair in found] for side in (0, 1))
        told(f"  {what:10} {spread(most)} ms among the more, {spread(least)} ms among the fewer")
    return [
        Found(f"claim of 100 at {larger:.0e} / {smaller:.0e} live", "<= 2", _ratios(claims)),
        Found(f"idle tick's look at {larger:.0e} / {smaller:.0e} live", "<= 2", _ratios(looks)),
    ]


def starting(ground: Ground, count: int, rounds: int) -> list[Found]:
    """From the process to /readyz, with many live leases and with none."""
    told("", f"Start to ready with {count:,} live leases, and with none:")
    with Filled(ground, "many", count) as many:
        settings = many.settings()
        found = [[_started(ground, name) for name in (settings, "four")] for _ in range(rounds)]
    for many_, none in found:
        told(f"  {many_:.2f} s with, {none:.2f} s without")
    return [Found(f"start to ready with {count:.0e} live leases / none", "<= 1.5", _ratios(found))]


def comparing(ground: Ground, count: int, rounds: int) -> list[Found]:
    """How long reconcile and doctor take over many live leases; nothing to hold them against."""
    told("", f"Reconcile and doctor over {count:,} live leases:")
    with Filled(ground, "compared", count) as filled:
        filled.do(FACTS, "ANALYZE facts")
        with house(ground, filled.settings()) as opened:
            broker = opened.broker
            both = [_timed(lambda: _reconcile_all(broker)) for _ in range(rounds)]
            checked = [_timed(lambda: doctor(broker)) for _ in range(rounds)]
    return [
        Found(f"reconcile of every minter at {count:.0e} live leases, in s", "(none set)", both),
        Found(f"doctor at {count:.0e} live leases, in s", "(none set)", checked),
    ]


def _reconcile_all(broker: Broker) -> None:
    for name in broker.minters:
        reconcile(broker, name)


def _claim(filled: Filled, store: SqlStore) -> float:
    """Seconds for one claim, committed; what came due for it is due at once."""
    filled.do(DUE.format(count=filled.count, due=CLAIMED))

    def claim() -> None:
        with store.transaction() as tx:
            claimed = tx.claim_due(CLAIMED, CLAIM, (), ())
            assert len(claimed) > 0.9 * CLAIMED

    return _timed(claim)


def _started(ground: Ground, settings: str) -> float:
    began = time.perf_counter()
    with Server(ground, settings):
        return time.perf_counter() - began


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ratios(found: list[list[float]]) -> list[float]:
    """Each pair's; for many short ones the medians of fifths, so that no one of them tells."""
    if len(found) < ROUNDS:
        return [more / fewer for more, fewer in found]
    fifth = len(found) // 5
    parts = [found[at : at + fifth] for at in range(0, len(found), fifth)]
    return [median(x for x, _ in part) / median(y for _, y in part) for part in parts]
