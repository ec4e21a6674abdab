"""The stage of the demo: a teller that stops when a step is not as told, and the actors.

Every actor is a folder with client profiles of its own and acts through the CLI, as a process.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from valetkey.cli.scripted import CLI, PATIENCE, Person

_WIDTH = 96
_OURS = ("VALETKEY_", "ACTIONS_ID_TOKEN_", "PG")


class NotAsTold(Exception):
    """A step of the story did not happen as told."""


@dataclass
class Teller:
    """Tells the story, and keeps what was checked for `--json`."""

    quiet: bool
    steps: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def scene(self, title: str) -> None:
        """Begin a step of the story."""
        at = time.monotonic() - self.began
        self.steps.append({"step": len(self.steps) + 1, "title": title, "checked": []})
        self._print("")
        self._print(click.style(f"{len(self.steps)}. {title}", bold=True) + f"  ({at:.0f} s)")

    def tell(self, text: str) -> None:
        """Explain what happens."""
        for line in textwrap.wrap(text, _WIDTH - 3):
            self._print(f"   {line}")

    def command(self, actor: str, line: str) -> None:
        """Show what an actor does."""
        self._print(click.style(f"   {actor} $ ", fg="cyan") + line)

    def verify(self, holds: bool, what: str) -> None:
        """Say what was seen; raises NotAsTold when it was not so."""
        if not holds:
            self._print(click.style(f"   ✗ NOT AS TOLD: {what}", fg="red"))
            raise NotAsTold(what)
        self.steps[-1]["checked"].append(what)
        for number, line in enumerate(textwrap.wrap(what, _WIDTH - 5)):
            self._print(click.style("   ✓ ", fg="green") + line if not number else f"     {line}")

    def lines(self, text: str) -> None:
        """Show lines as they are, indented."""
        for line in text.splitlines():
            self._print(f"     {line.rstrip()}")

    def _print(self, text: str) -> None:
        if not self.quiet:
            click.echo(text)


@dataclass(frozen=True)
class Stage:
    """The running stack as everybody may know it, a folder for the actors, and the teller."""

    about: Mapping[str, Any]
    folder: Path
    teller: Teller

    @property
    def url(self) -> str:
        """Valetkey's base URL."""
        return str(self.about["valetkey"])

    def person(self, name: str) -> Person:
        """A sample person."""
        return Person(name, str(self.about["issuer"]), Path(self.about["people_file"]))


@dataclass(frozen=True)
class Actor:
    """Somebody who uses the CLI: a name for the story, and an environment of their own."""

    stage: Stage
    name: str
    env: Mapping[str, str]

    @classmethod
    def on(cls, stage: Stage, name: str, **env: str) -> Actor:
        """An actor who has a home of their own and knows only where Valetkey is."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        home = {"VALETKEY_HOME": str(stage.folder / name), "VALETKEY_URL": stage.url}
        return cls(stage, name, inherited | home | env)

    def does(self, *argv: str, exit_code: int = 0) -> Any:
        """Run one CLI command; what it prints as JSON. Raises NotAsTold for another exit code."""
        self.stage.teller.command(self.name, f"valetkey {shlex.join(argv)}")
        done = subprocess.run(
            [*CLI, *argv, "--json"],
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return _outcome(done, argv, exit_code)

    def is_refused(self, *argv: str) -> dict[str, Any]:
        """Run one CLI command that is to be refused; the refusal, which is told."""
        refused: dict[str, Any] = self.does(*argv, exit_code=1)["refused"]
        return refused

    def prints(self, *argv: str) -> str:
        """Run one CLI command; what it prints for people."""
        self.stage.teller.command(self.name, f"valetkey {shlex.join(argv)}")
        done = subprocess.run(
            [*CLI, *argv],
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise NotAsTold(f"`valetkey {argv[0]}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def logs_in(self) -> None:
        """Log in as the sample person of this name, by the real device flow."""
        argv = ("login", "--device")
        self.stage.teller.command(self.name, f"valetkey {shlex.join(argv)}")
        person = self.stage.person(self.name)
        _outcome(person.with_device_login([*argv, "--json"], self.env), argv, 0)

    def gets_identity(self, token_file: Path) -> None:
        """Have the platform write this workload's identity token, as a kubelet would."""
        files = self.stage.about["workload_request_token_files"]
        command = [
            *(sys.executable, "-m", "valetkey.devstack.workload"),
            *("--issuer", str(self.stage.about["issuer"]), "--audience", self.stage.url),
            *("--request-token-file", str(files[self.name]), "--out", str(token_file)),
        ]
        subprocess.run(command, check=True, timeout=PATIENCE)


def _outcome(done: subprocess.CompletedProcess[str], argv: tuple[str, ...], wanted: int) -> Any:
    if done.returncode != wanted:
        raise NotAsTold(
            f"`valetkey {' '.join(argv[:2])}` ended with {done.returncode}, not {wanted}: "
            f"{done.stderr.strip()}"
        )
    return json.loads(done.stdout)
