"""Child processes that can be recognised again: spawn, stop, pid records, ports.

A pid alone does not name a process, because pids are reused; a record is the pid together with
the kernel's start time of that process. Nothing here ever signals a process whose start time
differs from the recorded one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from valetkey.devstack.folders import DataFolder, read_json, write_json

LOG_LIMIT = 10 * 1024 * 1024
"""A log longer than this (bytes) is set aside as `<name>.log.1` when its child starts."""
_PICKING = threading.Lock()
FIRST_PORT, PORTS = 20_000, 12_000
"""Where ports are picked: below those that Linux gives to outgoing connections (32768 and up)."""


@dataclass(frozen=True)
class Program:
    """What to execute: name, command line, environment, and as whom and where."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    as_user: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(frozen=True)
class Account:
    """A user and group id to drop to."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Running:
    """One recognisable process: pid and the kernel's start time of it."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str | None:
    """Return the kernel's start time of `pid` as opaque text, None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def command_line(pid: int) -> str:
    """Return the command line of `pid`, empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    done = subprocess.run(
        ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout


def _start_time_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = done.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def spawn(folder: DataFolder, program: Program) -> subprocess.Popen[bytes]:
    """Start `program` in a session of its own, its output in its log, and record it.

    The log is opened by us, so the child needs no right to reach the data folder.
    Raises OSError when the command cannot be executed.
    """
    account = program.as_user
    with open_log(folder, program.name) as log:
        child = subprocess.Popen(
            list(program.argv),
            env=dict(program.env),
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    record(folder, program.name, child.pid)
    return child


def spawn_leader(folder: DataFolder, argv: Sequence[str]) -> Running:
    """Start `argv` as the leader of a session of its own, output in `logs/supervisor.log`.

    It outlives us. Raises OSError when `argv[0]`, a path, cannot be executed.
    """
    with open_log(folder, "supervisor") as log, Path(os.devnull).open("rb") as nothing:
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            os.environ,
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
        )
    return Running(pid, start_time(pid) or "gone")


def open_log(folder: DataFolder, name: str) -> BinaryIO:
    """Open the log of `name` for appending (mode 0600); a long one is set aside first."""
    path = folder.logs / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def record(folder: DataFolder, name: str, pid: int) -> None:
    """Remember that `name` runs as `pid`."""
    started = start_time(pid)
    write_json(folder.run / f"{name}.pid", {"pid": pid, "started": started or "gone"})


def recorded(folder: DataFolder, name: str) -> Running | None:
    """Return the recorded process of `name` if that very process is alive, else None."""
    try:
        found = read_json(folder.run / f"{name}.pid")
        running = Running(int(found["pid"]), str(found["started"])) if found else None
    except (ValueError, KeyError, TypeError):
        return None
    return running if running is not None and running.alive() else None


def forget(folder: DataFolder, name: str, pid: int) -> None:
    """Drop the record of `name` if it is still that of `pid`."""
    path = folder.run / f"{name}.pid"
    if (read_json(path) or {}).get("pid") == pid:
        path.unlink(missing_ok=True)


def stop(running: Running, how: signal.Signals, *, patience: float = 10.0) -> None:
    """End one process: `how` first, SIGKILL after `patience` seconds; returns when it is gone."""
    for number, seconds in ((how, patience), (signal.SIGKILL, 10.0)):
        if not running.alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)
        if wait_until(lambda: not running.alive(), seconds):
            return


def wait_until(condition: Callable[[], bool], seconds: float, *, pause: float = 0.02) -> bool:
    """Poll `condition` until it holds or `seconds` have passed; tell whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def port_for(folder: DataFolder, name: str) -> int:
    """Return the loopback port kept for `name`; a new free one if none is kept or it is taken.

    Kept ports survive a restart, so that URLs in settings and issuer names stay true.
    """
    path = folder.root / "ports.json"
    with _PICKING:
        ports: dict[str, int] = read_json(path) or {}
        port = ports.get(name)
        if port is None or not _free(port):
            port = _pick(set(ports.values()))
            write_json(path, ports | {name: port})
        return port


def _pick(taken: set[int]) -> int:
    """A free port that no outgoing connection is given while the stack is down (RFC 6335, 6)."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        if port not in taken and _free(port):
            return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(pid: int, port: int) -> bool:
    """Tell whether process `pid` itself holds the listening socket on loopback `port`.

    Read from /proc, so that we never hand a key to a stranger who took the port first. Where
    there is no /proc, tell whether anybody listens (the caller also checks that `pid` lives).
    """
    if not Path("/proc/net/tcp").exists():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    inode = _listening_inode(port)
    return inode is not None and f"socket:[{inode}]" in _sockets_of(pid)


def _listening_inode(port: int) -> str | None:
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A":
            return fields[9]
    return None


def _sockets_of(pid: int) -> set[str]:
    links = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.add(str(entry.readlink()))
    return links
