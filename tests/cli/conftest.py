"""A fake broker, and the CLI run in this process with an empty environment of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.fake_broker import FakeBroker, start
from valetkey.cli.tree import valetkey

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJib3QifQ.c2lnbmF0dXJl"


@dataclass
class Terminal:
    """Runs commands as one user would: a home folder and environment variables."""

    home: Path
    env: dict[str, str | None] = field(default_factory=dict)

    def run(self, *argv: str, stdin: str | None = None) -> Result:
        """Run `valetkey ...`; stdout, stderr and exit code."""
        env = {"VALETKEY_HOME": str(self.home), **self.env}
        return CliRunner().invoke(valetkey, argv, env=env, input=stdin, prog_name="valetkey")

    def json(self, *argv: str) -> Any:
        """Run `valetkey ... --json`; the one document it printed."""
        return json.loads(self.run(*argv, "--json").stdout)


@pytest.fixture(autouse=True)
def _no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("VALETKEY_IDENTITY_TOKEN_FILE", "VALETKEY_URL", "VALETKEY_PROFILE")
    for name in (*names, "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    """A broker that answers what the test tells it to."""
    fake = FakeBroker()
    server = start(fake)
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def bot(broker: FakeBroker, tmp_path: Path) -> Terminal:
    """A workload's terminal: its platform keeps a token in a file."""
    token_file = tmp_path / "identity.jwt"
    token_file.write_text(TOKEN)
    env = {"VALETKEY_URL": broker.url, "VALETKEY_IDENTITY_TOKEN_FILE": str(token_file)}
    return Terminal(tmp_path / "home", env)


@pytest.fixture
def person(broker: FakeBroker, tmp_path: Path) -> Terminal:
    """A person's terminal; the login is kept already."""
    from valetkey.agentside.files import write_private_json

    home = tmp_path / "home"
    write_private_json(home / "profiles" / "default" / "login.json", {"id_token": TOKEN})
    return Terminal(home, {"VALETKEY_URL": broker.url})
