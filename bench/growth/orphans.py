"""Orphans: roles that exist in the target and that nobody remembers, after many kills."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

from bench.ending import revoke_prefixes
from bench.ground import Ground
from bench.growth.draining import DUE
from bench.growth.filling import Eyes, house, variant
from bench.growth.naive import TABLE
from bench.report import Found, told
from bench.served import Server
from valetkey.flows.doctor import doctor

SCALED = {"times__mint_limit": 3, "times__second_tap": 5, "times__claim": 3}
"""Where production has 30 s, 95 s and 20 s; no mint here takes a second."""
UNSETTLED = "SELECT count(*) FROM leases WHERE state NOT IN ('active', 'ended')"
KNOWN = "SELECT handle ->> 'name' FROM leases WHERE state = 'active'"
UNENDED = "SELECT count(*) FROM leases WHERE state <> 'ended'"
OURS = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'vk-%'"
THEIRS = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'"


def orphans(ground: Ground, kills: int) -> list[Found]:
    """The broker and the naive one, each killed so often while eight clients were issuing."""
    told("", f"Orphans after {kills} kills, eight clients issuing at each:")
    name = variant(ground, "scaled", **SCALED)
    with house(ground, name):
        pass  # only that the agent is there
    config = str(ground.config(name))
    _kill("broker", {"config": config}, kills)
    ours, issued, broken = _ours(ground, name)
    told(f"  broker: {issued} leases written, {ours} roles without one; doctor finds {broken}")
    eyes = Eyes(ground)
    eyes.do(TABLE)
    _kill("naive", {**ground.direct(), "database": ground.stack.superuser_dsn("valetkey")}, kills)
    theirs, issued = _theirs(ground)
    told(f"  naive mint-then-record: {issued} recorded, {theirs} roles without a record")
    return [
        Found(f"orphans after {kills} kills: broker", "0", text=str(ours)),
        Found(f"orphans after {kills} kills: naive mint-then-record", "> 0", text=str(theirs)),
    ]


def _kill(kind: str, where: dict[str, str], kills: int) -> None:
    given = json.dumps({**where, "kills": str(kills), "seed": "1"})
    command = [sys.executable, "-m", "bench.growth.victims", kind, given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def _ours(ground: Ground, settings: str) -> tuple[int, int, int]:
    """Roles without a living lease once all that was begun is settled; then all are ended."""
    eyes = Eyes(ground)
    with Server(ground, settings):
        _wait(lambda: eyes.value(UNSETTLED) == 0)
        known = {row[0] for row in eyes.rows(KNOWN)}
        strays = {row[0] for row in eyes.rows(OURS)} - known
        eyes.do(DUE)
        _wait(lambda: eyes.value(UNENDED) == 0)
        with house(ground, settings) as opened:
            broken = len(doctor(opened.broker))
    return len(strays), int(eyes.value("SELECT count(*) FROM leases")), broken


def _theirs(ground: Ground) -> tuple[int, int]:
    """Roles without a record, once OpenBao has nothing in flight; then all are ended."""
    eyes = Eyes(ground)
    time.sleep(2)
    recorded = {row[0] for row in eyes.rows("SELECT username FROM naive")}
    strays = {row[0] for row in eyes.rows(THEIRS)} - recorded
    revoke_prefixes(ground, 1)
    left = [row[0] for row in eyes.rows(THEIRS)]  # OpenBao itself forgot these
    eyes.do(*(f'DROP ROLE "{name}"' for name in left), "DROP TABLE naive")
    return len(strays), len(recorded)


def _wait(condition: Callable[[], bool], within: float = 120.0) -> None:
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("it did not settle")
        time.sleep(0.2)
