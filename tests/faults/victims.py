"""Broker processes that are started to be killed, and what their clients had received by then."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import psycopg

from tests.faults.ground import Ground
from valetkey.bootstrap import FAILPOINT, House


@dataclass
class Victim:
    """One worker process; `lines` is what its client saw, `sessions` what the client opened."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[psycopg.Connection[Any]] = field(default_factory=list)
    complaints: str = ""

    @property
    def secrets(self) -> list[Mapping[str, object]]:
        """Every credential that its client received."""
        return [line["secret"] for line in self.lines if "secret" in line]

    @property
    def tasks(self) -> list[str]:
        """Every task that its client began."""
        return [line["task"] for line in self.lines if "task" in line]

    def follow(self, ground: Ground) -> None:
        """Read lines to the end; for each credential open a session, then let it go on."""
        assert self.process.stdout is not None and self.process.stdin is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            secret = self.lines[-1].get("secret")
            if secret is not None:
                self._use(ground, secret, self.process.stdin)
        assert self.process.stderr is not None
        self.complaints = self.process.stderr.read()
        self.process.wait(timeout=30)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):  # a last word that it did not hear
                pipe.close()

    def _use(self, ground: Ground, secret: Mapping[str, object], stdin: IO[str]) -> None:
        with contextlib.suppress(psycopg.OperationalError):  # it may have been ended meanwhile
            self.sessions.append(ground.connect(secret))
        with contextlib.suppress(BrokenPipeError):
            stdin.write("on\n")
            stdin.flush()

    def died_by_kill(self) -> bool:
        """True when it was ended by SIGKILL, not by itself."""
        return self.process.returncode == -signal.SIGKILL

    def still_open(self) -> int:
        """How many of the client's sessions still answer; closes them all."""
        alive = 0
        for session in self.sessions:
            try:
                session.execute("SELECT 1")
                alive += 1
            except psycopg.OperationalError:
                pass
            session.close()
        return alive


def send_out(ground: Ground, house: House, act: str, failpoint: str = "") -> Victim:
    """Start a worker that does an act, to die at a fail point if one is named."""
    bot = ground.bot(house)
    environment = {**os.environ, FAILPOINT: failpoint}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.worker", str(ground.config), str(bot.agent_id), act],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return Victim(process)


def followed(ground: Ground, victim: Victim) -> threading.Thread:
    """Read a victim in a thread of its own."""
    thread = threading.Thread(target=victim.follow, args=[ground])
    thread.start()
    return thread
