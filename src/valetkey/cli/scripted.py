"""Scripted people of the dev stack: they log in by the real device flow, as processes of their own.

    python -m valetkey.cli.scripted approve --issuer URL --people-file F --person arun --grant G

is the scripted approver of the demo: it looks at the grant and approves it through the CLI, and
answers the login on the issuer's page in a further process. Its profile is in `$VALETKEY_HOME`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CLI = (sys.executable, "-m", "valetkey.cli")
PATIENCE = 40.0
_CODE = re.compile(r"compare the code ([A-Z]{4}-[A-Z]{4})")


@dataclass(frozen=True)
class Person:
    """A sample person: login name, the issuer that knows them, the file with their password."""

    name: str
    issuer: str
    people_file: Path

    def answer(self, user_code: str) -> None:
        """Answer a device login on the issuer's page, in a process of its own."""
        where = ["--issuer", self.issuer, "--people-file", str(self.people_file)]
        what = ["--person", self.name, "--user-code", user_code]
        command = [sys.executable, "-m", "valetkey.devstack.people", *where, *what]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)

    def with_device_login(
        self, command: Sequence[str], env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a CLI command that shows a code on stderr to log in with, and answer it."""
        running = subprocess.Popen(
            [*CLI, *command],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        seen = []
        try:
            for line in running.stderr or ():
                seen.append(line)
                if found := _CODE.search(line):
                    self.answer(found[1])
                    break
            out, rest = running.communicate(timeout=PATIENCE)
        except BaseException:
            running.kill()
            running.wait()
            raise
        errors = "".join(seen) + rest
        return subprocess.CompletedProcess(command, running.returncode, out, errors)


def approve(person: Person, grant: str, env: Mapping[str, str]) -> int:
    """Log in, look at a grant, approve it with a fresh login; the CLI's exit code."""
    for command in (["login", "--device"], ["grant", "approve", grant, "--yes", "--device"]):
        print(f"scripted approver {person.name} $ valetkey {' '.join(command)}", flush=True)
        done = person.with_device_login(command, env)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return done.returncode
        if command[0] == "grant":
            print(done.stderr.rstrip(), flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one person once."""
    import os

    parser = argparse.ArgumentParser(prog="python -m valetkey.cli.scripted")
    parser.add_argument("act", choices=["approve"])
    for name in ("--issuer", "--person", "--grant"):
        parser.add_argument(name, required=True)
    parser.add_argument("--people-file", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    person = Person(chosen.person, chosen.issuer, chosen.people_file)
    return approve(person, chosen.grant, os.environ)


if __name__ == "__main__":
    sys.exit(main())
