"""A hall at an address of its own, an agent by its platform's proof, and the command beside it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.api.hall import SCOPE, Hall
from tests.api.served import Served
from tests.api.test_client_keys import BINDINGS
from valetkey.cli.tree import valetkey


@dataclass
class Town:
    """A hall at its own address, an agent by its platform's proof, and a terminal of its own."""

    hall: Hall
    folder: Path

    @property
    def now(self) -> int:
        """The time in seconds; it stands still."""
        return int(self.hall.stage.broker.store.now().timestamp())

    def proof(self, **claims: object) -> str:
        """The platform's proof, with changes."""
        return self.hall.issuers["workloads"].sign(
            self.now, {"sub": "pod-one", "aud": self.hall.url, **claims}
        )

    def run(self, *argv: str, proof: str = "") -> tuple[int, Any]:
        """Run a command as the agent; its exit code and its document."""
        token = self.folder / "identity.jwt"
        token.write_text(proof or self.proof())
        home = self.folder / "home"
        env = {
            "VALETKEY_HOME": str(home),
            "VALETKEY_URL": self.hall.url,
            "VALETKEY_IDENTITY_TOKEN_FILE": str(token),
        }
        done = CliRunner().invoke(valetkey, [*argv, "--json"], env=env, prog_name="valetkey")
        return done.exit_code, json.loads(done.stdout)

    def task(self) -> str:
        """A task started by the command, so that it is of the command's key."""
        wanted = [f"--scope=orders-db:{name}" for name in ("read", "write", "drop")]
        code, started = self.run("task", "start", "--purpose", "p", "--ttl", "1h", *wanted)
        assert code == 0, started
        return str(started["id"])

    def ask(self, task: str, scope: str = SCOPE, **how: str) -> tuple[int, Any]:
        """Request a credential by the command."""
        return self.run("request", scope, "--task", task, "--ttl", "5m", **how)

    def limits(self, **changes: object) -> None:
        """Change what may be asked."""
        stage = self.hall.stage
        stage.broker = replace(stage.broker, limits=replace(stage.broker.limits, **changes))
        self.hall.app.state.desk = replace(self.hall.app.state.desk, broker=stage.broker)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A town whose clock shows today's time, for commands have a clock of their own."""
    with ExitStack() as stack:
        listening = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        hall = Hall(stack, url=url)
        hall.stage.pass_time(datetime.now(UTC) - hall.stage.broker.store.now())
        for name in ("bot", "owner", "approver"):
            setattr(hall, name, hall.visitor(getattr(hall.stage, name)))
        stack.callback(Served(hall, listening).close)
        pod = {"issuer": "workloads", "claims": {"sub": "pod-one"}}
        assert hall.owner.call("POST", BINDINGS, pod).status_code == 201
        yield Town(hall, tmp_path)
