"""Ending many: every credential of one task, each looked for afterwards, against revoke-prefix.

The broker ends each and proves it: OpenBao lists no lease, and its own login to the target finds
neither role nor session. OpenBao's revoke-prefix proves nothing and is one call. Afterwards both
are counted in `pg_roles` by this script's own eyes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import hvac
import psycopg

from bench.direct import DirectDatabase
from bench.ground import DIRECT_MOUNT, FOUR, Ground
from bench.served import Served, where

PATIENCE = 600.0


@dataclass(frozen=True)
class Ended:
    """How long it took, and what was left behind."""

    count: int
    seconds: float
    left: int

    def line(self, who: str) -> str:
        """One line of the report."""
        rate = self.count / self.seconds
        return (
            f"  {who:34} {self.count} in {self.seconds:6.1f} s ({rate:5.1f}/s), "
            f"roles left: {self.left}"
        )


def direct(ground: Ground, count: int) -> Ended:
    """Mint that many over four lanes, then one unchecked revoke-prefix for each role."""
    side = DirectDatabase(ground.direct(), 4)
    clients = [side.client() for _ in range(8)]
    _fill(count, lambda at: clients[at % 8].mint())
    return revoke_prefixes(ground, count)


def revoke_prefixes(ground: Ground, count: int) -> Ended:
    """One blocking, unchecked revoke-prefix for each of the four ready-made roles."""
    client = hvac.Client(**_address(ground))
    began = time.perf_counter()
    for lane in range(4):
        path = f"/v1/sys/leases/revoke-prefix/{DIRECT_MOUNT}/creds/ready-{lane}"
        client.adapter.put(path, json={"sync": True})
    took = time.perf_counter() - began
    return Ended(count, took, _roles(ground, "v-%"))


def broker(ground: Ground, count: int) -> Ended:
    """Mint that many for one task, end the task, wait until each end is proven."""
    side = Served(where(ground), FOUR)
    agent = side.client()
    one_each = [agent, *(agent.again() for _ in range(7))]
    _fill(count, lambda at: one_each[at % 8].mint())
    began = time.perf_counter()
    agent.end_task()
    unended = side.settle(PATIENCE)
    took = time.perf_counter() - began
    return Ended(count - unended, took, _roles(ground, "vk-%"))


def _fill(count: int, mint: Callable[[int], object]) -> None:
    """Each of eight threads mints on a connection of its own."""

    def share(at: int) -> None:
        for number in range(at, count, 8):
            mint(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(share, range(8)))


def _address(ground: Ground) -> dict[str, object]:
    given = ground.direct()
    return {"url": given["address"], "token": given["token"], "timeout": PATIENCE}


def _roles(ground: Ground, like: str) -> int:
    with psycopg.connect(ground.stack.superuser_dsn(), autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_roles WHERE rolname LIKE %s"
        row = connection.execute(query, [like]).fetchone()
    return int(row[0]) if row else 0
