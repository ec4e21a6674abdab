"""The shell and CI examples run as they are printed: only addresses and the platform are stood in for.

What stands in signs what the platform would sign, for its claims are tried elsewhere; `psql` says
under which login it was started. The examples in Python are run by `test_authlib.py` and the dev
stack's test, those for SPIFFE by `test_spiffe_clients.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.town import Town
from tests.api.town import town as town
from valetkey.core.facts import FactKind
from valetkey.core.secret import Secret
from valetkey.testing.fake_minter import FakeMinter

EXAMPLES = Path(__file__).parents[2] / "examples" / "workloads"
ADDRESS = "https://valetkey.example.com"
STANDING_IN = {
    "psql": '#!/bin/sh\necho "as $PGUSER: $2"\n',
    "aws": '#!/bin/sh\nprintf %s "$PLATFORMS_TOKEN"\n',
    "valetkey": f'#!/bin/sh\nexec {sys.executable} -m valetkey.cli "$@"\n',
}


@dataclass
class Logins(FakeMinter):
    """Makes logins of a database, as far as a command sees them."""

    def mint(self, *wanted: Any) -> Any:
        """As the fake does, in the form that commands know."""
        minted = super().mint(*wanted)
        shown = {"type": "postgresql", "host": "h", "port": "1", "database": "orders"}
        name = str(minted.secret.reveal()["name"])
        secret = Secret({"username": name, "password": "p"}, {**shown, "sslmode": "disable"})
        return replace(minted, secret=secret)


@pytest.fixture
def places(town: Town) -> Town:
    """A town whose target hands out logins, and a folder with what stands in."""
    stage = town.hall.stage
    stage.minter = Logins()
    stage.broker = replace(stage.broker, minters={"fake": stage.minter})
    town.hall.app.state.desk = replace(town.hall.app.state.desk, broker=stage.broker)
    (town.folder / "bin").mkdir()
    for name, text in STANDING_IN.items():
        path = town.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    return town


def run(town: Town, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of an example against the town, with what stands in found first."""
    path = town.folder / "example.sh"
    path.write_text(script.replace(ADDRESS, town.hall.url))
    plain = {
        "PATH": f"{town.folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(town.folder),
        "TMPDIR": str(town.folder),
        "PLATFORMS_TOKEN": town.proof(),
    }
    return subprocess.run(
        ["/bin/sh", "-e", str(path)],
        env={**plain, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def worked(town: Town, done: subprocess.CompletedProcess[str]) -> None:
    """The command ran under a login, which ended with it; nothing is left in the folder."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("as "), done.stdout
    assert "count(*)" in done.stdout
    kinds = [entry.fact.kind for entry in town.hall.facts()]
    assert FactKind.LEASE_MINTED in kinds
    assert FactKind.TASK_ENDED in kinds
    assert not town.hall.stage.minter.alive


@pytest.mark.parametrize("name", ["aws.sh", "generic.sh"])
def test_a_workloads_script_works_and_leaves_nothing(places: Town, name: str) -> None:
    """AWS asks for a token, and any other has it in a file."""
    token = places.folder / "identity.jwt"
    token.write_text(places.proof())
    done = run(places, (EXAMPLES / name).read_text(), VALETKEY_IDENTITY_TOKEN_FILE=str(token))
    worked(places, done)
    left = {x.name for x in places.folder.iterdir()}
    assert not [name for name in left if name.startswith("tmp.")]


def test_a_gitlab_job_works(places: Town) -> None:
    """Its script, with the token that GitLab puts into its environment."""
    job = yaml.safe_load((EXAMPLES / "gitlab.yml").read_text())["refund-bot"]
    assert job["id_tokens"]["VALETKEY_ID_TOKEN"] == {"aud": ADDRESS}
    variables = {
        name: text.replace(ADDRESS, places.hall.url) for name, text in job["variables"].items()
    }
    done = run(places, "\n".join(job["script"]), VALETKEY_ID_TOKEN=places.proof(), **variables)
    worked(places, done)


@pytest.fixture
def runner(places: Town) -> Iterator[ThreadingHTTPServer]:
    """Where a GitHub runner gives tokens, for whoever has its request token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == "Bearer r3quest"
            body = json.dumps({"value": places.proof()}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_github_job_works(places: Town, runner: ThreadingHTTPServer) -> None:
    """Its step, with the two variables that a runner gives to a job that may have tokens."""
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    job = workflow["jobs"]["work"]
    assert workflow["permissions"]["id-token"] == "write"
    env = {name: text.replace(ADDRESS, places.hall.url) for name, text in job["env"].items()}
    env["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"http://127.0.0.1:{runner.server_port}/?x=1"
    env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "r3quest"
    (step,) = job["steps"]
    worked(places, run(places, step["run"], **env))


def test_every_example_stands_in_the_index() -> None:
    """Whoever looks for a door finds it in examples/README.md."""
    folder = EXAMPLES.parent
    index = (folder / "README.md").read_text()
    found = [x for x in folder.rglob("*") if x.is_file() and "__pycache__" not in x.parts]
    names = {str(x.relative_to(folder)) for x in found} - {"README.md"}
    assert not [name for name in sorted(names) if f"`{name}`" not in index]
