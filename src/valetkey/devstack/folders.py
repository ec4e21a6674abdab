"""The one data folder of a dev stack: what lies where in it, and how secrets are written.

The folder and everything in it belongs to the user who runs the stack; it is mode 0700 and
every secret in it is a file of mode 0600. Nothing here starts a process.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DataFolder:
    """The paths under one data folder (absolute)."""

    root: Path

    @classmethod
    def at(cls, path: Path | str) -> DataFolder:
        """Return the data folder at `path`, made (mode 0700) if it is not there."""
        folder = cls(Path(path).absolute())
        for part in (folder.root, folder.secrets, folder.logs, folder.run, folder.home):
            part.mkdir(parents=True, exist_ok=True)
            part.chmod(0o700)
        return folder

    @property
    def secrets(self) -> Path:
        """Passwords, unseal keys and DSNs, each a 0600 file."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        """One log file per child."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What is true only while the stack is up: process records, the server's identity token."""
        return self.root / "run"

    @property
    def home(self) -> Path:
        """The HOME given to children, so that none reads the real one."""
        return self.root / "home"

    @property
    def state_file(self) -> Path:
        """What is running and where: ports, pids, URLs; no secrets."""
        return self.root / "state.json"

    def secret(self, name: str) -> str:
        """Return the secret called `name`, generated (256 bits, URL-safe) on first use."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text(encoding="utf-8").strip()


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, mode 0600 from the first byte on."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON to `path` atomically, mode 0600."""
    write_private(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`, or None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
