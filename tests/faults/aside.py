"""A Postgres of our own beside the ground's: its disk may fill up, its clock may be wrong.

It holds a database under the name that the ground was laid for, so that what a broker on it makes is
pinned at the ground's OpenBao. The target stays on the ground. Two databases of one name are what a
restore leaves behind, so nothing else may run on that ground: it is one of its own.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults.ground import Ground, sqlalchemy_url
from tests.faults.shared import a_ground_of_ones_own
from valetkey.devstack import orders, process, provision
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.postgres import SUPERUSER, Postgres
from valetkey.devstack.process import Running
from valetkey.store.migrations import migrate

DISK = "160m"
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@dataclass(frozen=True)
class Aside:
    """A running server; `home` is where its files are."""

    server: Postgres

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def superuser(self) -> psycopg.Connection[Any]:
        """A session in Valetkey's database that may do anything; every statement commits."""
        return psycopg.connect(self.server.dsn("valetkey", SUPERUSER), autocommit=True)

    @property
    def home(self) -> Path:
        """The folder of its files, on the disk that may fill up."""
        return self.server.home


@dataclass(frozen=True)
class Clock:
    """The wall clock of processes that were started with `environment`."""

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with; its monotonic clock stays what it is."""
        return {
            "LD_PRELOAD": str(FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def move(self, seconds: int) -> None:
        """From now on they are so many seconds ahead."""
        after = self.file.with_suffix(".new")
        after.write_text(f"{seconds:+d}\n")
        after.chmod(0o644)
        after.replace(self.file)


@contextmanager
def _clock() -> Iterator[Clock]:
    if not FAKETIME:
        pytest.fail("libfaketime is missing: run `make system-deps`")
    folder = Path(tempfile.mkdtemp(prefix="valetkey-clock-"))
    folder.chmod(0o755)  # whoever runs Postgres reads it
    clock = Clock(folder / "clock")
    clock.move(0)
    yield clock
    shutil.rmtree(folder)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that is right until it is moved; fails without Debian's `faketime`."""
    with _clock() as clock:
        yield clock


@dataclass(frozen=True)
class Apart:
    """A ground of its own whose brokers have their database aside, under a clock that may move."""

    ground: Ground
    database: Aside
    clock: Clock


_shared: list[Apart] = []


@pytest.fixture
def apart(pytestconfig: pytest.Config) -> Apart:
    """The one of a run, on a small disk."""
    if not _shared:
        resources = ExitStack()
        pytestconfig.add_cleanup(resources.close)
        ground = resources.enter_context(a_ground_of_ones_own())
        clock = resources.enter_context(_clock())
        _shared.append(Apart(ground, resources.enter_context(_aside(ground, clock)), clock))
    return _shared[0]


@contextmanager
def _aside(ground: Ground, clock: Clock) -> Iterator[Aside]:
    """A migrated server, stopped and deleted afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="valetkey-aside-"))
    data = DataFolder.at(folder)
    for user in (orders.OWNER, orders.APP):
        shutil.copy(ground.stack.folder.secrets / f"{user}.password", data.secrets)
    server = Postgres(data, environment=clock.environment)
    try:
        with _disk(server.home), _running(server):
            _fill(ground, server)
            yield Aside(server)
    finally:
        server.destroy()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk(home: Path) -> Iterator[None]:
    """A small disk of its own at this folder, in memory; needs root."""
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(home)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(home)], check=True)


@contextmanager
def _running(server: Postgres) -> Iterator[None]:
    child = server.spawn()
    running = Running(child.pid, process.start_time(child.pid) or "")
    try:
        assert process.wait_until(lambda: server.ready(child.pid), 30)
        yield
    finally:
        process.stop(running, server.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)


def _fill(ground: Ground, server: Postgres) -> None:
    """Roles, databases and tables, under the ground's own name."""
    passwords = {user: server.folder.secret(f"{user}.password") for user in (orders.OWNER, orders.APP)}
    admin = {name: server.dsn(name) for name in ("postgres", "valetkey", "orders")}
    provision.provision_postgres(admin, passwords)
    migrate(sqlalchemy_url(server.dsn("valetkey", orders.OWNER)))
    (ours,) = ground.look("SELECT id, epoch FROM installation", database="valetkey")
    with Aside(server).superuser() as root:
        root.execute("SET session_replication_role = replica")
        root.execute("UPDATE installation SET id = %s, epoch = %s", ours)
