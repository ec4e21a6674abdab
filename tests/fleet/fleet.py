"""Several replicas on one database, leases that come due, and what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import uuid6

from tests.faults.ground import until_true
from tests.fleet.folder_minter import NAME, ends_by_replica
from valetkey.core.facts import FactKind
from valetkey.core.ids import LeaseId, Mark, encode_id, short_digest
from valetkey.core.lease import Handle, Lease, LeaseState, Proof
from valetkey.flows.recording import lease_fact
from valetkey.store.sql_store import SqlStore

TARGETS = 4
LIFE = timedelta(hours=1)


@dataclass
class Fleet:
    """Replica processes by name, and the folder that is their back end."""

    app_url: str
    dsn: str
    folder: Path
    store: SqlStore
    tick: float
    claim: float
    takes: float
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    killed: int = 0

    def send_out(self, *names: str) -> None:
        """Start replicas, and wait until each of them ticks."""
        times = [str(self.tick), str(self.claim), str(self.takes)]
        for name in names:
            argv = [sys.executable, "-m", "tests.fleet.replica"]
            argv += [self.app_url, str(self.folder), name, *times]
            self.processes[name] = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        for name in names:
            said = self.processes[name].stdout
            assert said is not None and said.readline() == "ticking\n"

    def kill(self, name: str) -> None:
        """SIGKILL one, wherever it is."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
        self.killed += 1

    def write(self, count: int, due: datetime, every: timedelta = timedelta(0)) -> None:
        """Active leases that come due from then on, one after the other; each a file outside."""
        installation = self.store.installation()
        with self.store.transaction() as tx:
            now = tx.now()
            for number in range(count):
                lease = _lease(installation, number, now, due + number * every)
                (self.folder / "alive" / lease.handle.name).touch()
                tx.add_lease(lease)
                tx.record(lease_fact(FactKind.LEASE_MINTED, lease, "issuer"))

    def unended(self) -> int:
        """How many have no proof of their end."""
        return int(self.look("SELECT count(*) FROM leases WHERE state <> 'ended'")[0][0])

    def look(self, query: str) -> list[tuple[object, ...]]:
        """What the superuser sees in our database."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query).fetchall()

    def lags(self) -> list[float]:
        """Seconds from due to ended of each lease, in order."""
        lag = "extract(epoch FROM ended_at - expires_at)::float8"
        return [float(row[0]) for row in self.look(f"SELECT {lag} FROM leases ORDER BY 1")]

    def ends(self) -> dict[str, int]:
        """How many ends each replica asked of the back end."""
        return {who: seen.total() for who, seen in ends_by_replica(self.folder).items()}

    def until_all_ended(self, within: float) -> None:
        """Wait for every proof (seconds)."""
        until_true(lambda: self.unended() == 0, within, lambda: f"{self.unended()} unended")

    def close(self) -> None:
        """Kill whoever still ticks."""
        for name in list(self.processes):
            self.kill(name)
        self.store.close()


@contextmanager
def fleet(
    urls: tuple[str, str], folder: Path, store: SqlStore, *, tick: float, claim: float,
    takes: float = 0.0,
) -> Iterator[Fleet]:
    """A fleet without replicas yet; `urls` is the application's and the superuser's address."""
    (folder / "alive").mkdir()
    made = Fleet(urls[0], urls[1], folder, store, tick, claim, takes)
    try:
        yield made
    finally:
        made.close()


def histogram(lags: list[float], step: float) -> str:
    """Lags as lines of `seconds count`."""
    counts: dict[int, int] = {}
    for lag in lags:
        counts[int(lag // step)] = counts.get(int(lag // step), 0) + 1
    return "\n".join(f"  < {(at + 1) * step:5.2f} s {counts[at]:6d}" for at in sorted(counts))


def rounds() -> int:
    """`VALETKEY_FAULT_ROUNDS`: 1 in `make test`, 50 in `make faults`."""
    return int(os.environ.get("VALETKEY_FAULT_ROUNDS", "1"))


def _lease(installation: str, number: int, now: datetime, due: datetime) -> Lease:
    lease_id = LeaseId(encode_id("lease", uuid6.uuid7().bytes))
    target = f"target-{number % TARGETS}"
    mark = Mark.of(installation, short_digest(target), lease_id)
    return Lease(
        id=lease_id,
        grant_id=None,
        task_id=None,
        agent_id=None,
        owner="olivia@example.com",
        target=target,
        scope=f"{target}:read",
        catalogue_digest="digest",
        handle=Handle(NAME, target, str(mark)),
        end_class=Proof.VERIFIED,
        state=LeaseState.ACTIVE,
        fence=1,
        requested_ttl=LIFE,
        granted_ttl=LIFE,
        cut_by="asked",
        created_at=now,
        mint_until=now,
        second_tap_at=now,
        due_at=due,
        expires_at=due,
        backend_expires_at=due + LIFE,
        activated_at=now,
        seen_outside=True,
    )
