"""A dev stack run as its own process, by command line, the way a person runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from valetkey.devstack import process
from valetkey.devstack.bao_api import Bao
from valetkey.devstack.postgres import ROOT_BASE
from valetkey.devstack.stack import down, status


@dataclass
class Foreground:
    """One data folder and the process that runs its stack."""

    folder: Path
    python: str = sys.executable
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.defpath})
    uid: int | None = None
    cwd: Path | None = None
    leader: subprocess.Popen[str] | None = None
    endpoints: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        """Run it and wait for the line of JSON it prints when everything is ready."""
        self.forget_leader()
        argv = [
            self.python,
            "-m",
            "valetkey.devstack.stack",
            "--data",
            str(self.folder),
        ]
        self.leader = subprocess.Popen(
            argv,
            env=dict(self.env),
            cwd=self.cwd or "/",
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            user=self.uid,
            group=self.uid,
            extra_groups=[] if self.uid is not None else None,
        )
        assert self.leader.stdout is not None
        self.endpoints = json.loads(self.leader.stdout.readline())

    def interrupt(self) -> int:
        """Do what Ctrl-C does: SIGINT to the whole process group; the exit code."""
        assert self.leader is not None
        os.killpg(self.leader.pid, signal.SIGINT)
        return self.leader.wait(timeout=40)

    def pids(self) -> dict[str, int]:
        """The pids of the children by name."""
        return dict((status(self.folder) or {})["pids"])

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the sample database as superuser."""
        dsn = Path(self.endpoints["postgres"]["superuser_dsn_file"]).read_text(encoding="utf-8")
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def bao(self) -> Bao:
        """OpenBao with the root token."""
        keys = json.loads((self.folder / "secrets" / "openbao.keys").read_text(encoding="utf-8"))
        return Bao(self.endpoints["openbao"]["address"], keys["root"])

    def forget_leader(self) -> None:
        """Let go of an earlier run's pipe."""
        if self.leader is not None and self.leader.stdout is not None:
            self.leader.stdout.close()

    def close(self) -> None:
        """End whatever still runs and delete what lies outside the folder."""
        if self.leader is not None and self.leader.poll() is None:
            self.leader.terminate()
            self.leader.wait(timeout=40)
        self.forget_leader()
        down(self.folder)
        marker = self.folder / "postgres.instance"
        if marker.exists():
            home = ROOT_BASE / marker.read_text(encoding="ascii")
            shutil.rmtree(home)
            home.with_name(f"{home.name}.folder").unlink()


def mentions(folder: Path) -> list[int]:
    """The pids of all processes whose command line names `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    return process.start_time(pid) is not None
