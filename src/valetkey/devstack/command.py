"""A child given as a command line: the issuer, and the Valetkey server itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import urllib3

from valetkey.devstack import process
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.process import Program


@dataclass(frozen=True)
class Command:
    """A supervised command that serves on loopback `port` and is ready once `path` answers 200.

    `env` is the whole environment beyond PATH, HOME and where Python finds itself.
    """

    folder: DataFolder
    name: str
    argv: Sequence[str]
    port: int
    path: str
    env: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it; returns at once. Raises OSError when it cannot be executed."""
        home = self.folder.home / self.name
        home.mkdir(mode=0o700, exist_ok=True)
        env = {"PATH": os.defpath, "HOME": str(home), **_python_path(), **self.env}
        program = Program(self.name, self.argv, env, home, None, self.stop_signal)
        return process.spawn(self.folder, program)

    def ready(self, pid: int) -> bool:
        """Tell whether our own process `pid` answers 200 at `path`."""
        if not process.listens(pid, self.port):
            return False
        url = f"http://127.0.0.1:{self.port}{self.path}"
        try:
            return urllib3.request("GET", url, retries=False, timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def after_ready(self) -> None:
        """Nothing to do once it answers."""


def issuer(folder: DataFolder, port: int) -> Command:
    """Return the dev issuer as a command; its keys and secrets are in `<data>/issuer`."""
    argv = [sys.executable, "-m", "valetkey.devstack.issuer"]
    argv += ["--folder", str(folder.root / "issuer"), "--port", str(port)]
    return Command(folder, "issuer", argv, port, "/healthz", {})


def _python_path() -> dict[str, str]:
    """Return what this interpreter needs to be found again, if it was told."""
    names = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}
