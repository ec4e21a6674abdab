"""Revocation lag: leases come due one after the other, and how late each is proven gone."""

from __future__ import annotations

import time
from datetime import datetime

import psycopg

from bench.ground import Ground
from bench.growth.draining import DUE
from bench.growth.filling import Eyes, house, mint, variant
from bench.report import Found, at, told
from bench.served import Server

TICK = 1.0
SECONDS = 20
LEAD = 3.0
PLAN = """
UPDATE leases SET due_at = clock_timestamp()
    + make_interval(secs => %(lead)s + planned.number / %(rate)s::float8)
FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM leases WHERE state = 'active')
    AS planned
WHERE leases.id = planned.id RETURNING leases.id, leases.due_at
"""
ENDED = "SELECT id, ended_at FROM leases WHERE state = 'ended' AND id = ANY(%s)"
LEFT = "SELECT count(*) FROM leases WHERE state <> 'ended'"


def lagging(ground: Ground, wanted: int) -> list[Found]:
    """At that many due each second for a while, or what the machine can do without a queue."""
    eyes = Eyes(ground)
    reached = _reached(ground)
    rate = wanted if 0.8 * reached >= wanted else int(0.8 * reached) // 5 * 5
    why = "" if rate == wanted else f" (of {wanted}: this machine ends {reached:.0f} per second)"
    told("", f"Revocation lag at {rate} due database leases per second{why}, a tick of 1 s:")
    with house(ground) as opened:
        mint(opened, rate * SECONDS)
    with Server(ground, variant(ground, "second", times__tick="PT1S")):
        dsn = ground.stack.superuser_dsn("valetkey")
        with psycopg.connect(dsn, autocommit=True) as connection:
            values = {"lead": LEAD, "rate": rate}
            due: dict[str, datetime] = dict(connection.execute(PLAN, values).fetchall())
            began = time.perf_counter()
            while eyes.value(LEFT):
                time.sleep(0.2)
            took = time.perf_counter() - began - LEAD
            ended: dict[str, datetime] = dict(connection.execute(ENDED, [list(due)]).fetchall())
    lags = [(ended[name] - due[name]).total_seconds() / TICK for name in due]
    told(
        f"  {len(lags)} due in {SECONDS} s, all gone after {took:.1f} s;"
        f" lag in ticks: p50 {at(0.5, lags):.2f}, p99 {at(0.99, lags):.2f}, most {max(lags):.2f}"
    )
    fifths = [lags[n :: 5] for n in range(5)]
    p99 = [at(0.99, fifth) for fifth in fifths]
    return [Found(f"revocation lag p99 at {rate} due/s, in ticks of 1 s", "<= 1.5", p99)]


def _reached(ground: Ground) -> float:
    """How many this machine ends each second just now."""
    eyes = Eyes(ground)
    with house(ground) as opened:
        mint(opened, 300)
    with Server(ground, "four"):
        began = time.perf_counter()
        eyes.do(DUE)
        while eyes.value(LEFT):
            time.sleep(0.05)
        return 300 / (time.perf_counter() - began)
