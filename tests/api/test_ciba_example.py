"""`examples/ciba_client.py` as a process, and the person who decides meanwhile."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from examples import ciba_client
from tests.api.backchannel import WRITE, approve
from tests.api.hall import Hall
from tests.api.served import Served, until
from tests.api.test_client_keys import bind, members
from valetkey.store.sql_store import SqlStore


@pytest.fixture
def served(sql_store: SqlStore) -> Iterator[Hall]:
    """A hall at its own loopback address, on a real database and its clock."""
    with ExitStack() as stack:
        listening = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        hall = Hall(stack, sql_store, url=url)
        stack.callback(Served(hall, listening).close)
        yield hall


@pytest.fixture
def asking(served: Hall, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The example, which asks for what a person must agree to."""
    key = ECKey.generate_key("P-256")
    assert bind(served.owner, members(key)).status_code == 201
    file = tmp_path / "bot.key.json"
    file.write_text(json.dumps(key.as_dict(private=True)))
    env = {"PATH": os.environ["PATH"], "VALETKEY_URL": served.url, "AGENT": "refund-bot"}
    process = subprocess.Popen(
        [sys.executable, ciba_client.__file__, WRITE, "correct order 4012"],
        env={**env, "AGENT_KEY_FILE": str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        if process.poll() is None:
            process.kill()


def waiting(hall: Hall) -> list[str]:
    """The ids of the grants that wait."""
    found = hall.approver.get("/v1/grants?state=waiting")["items"]
    return [grant["id"] for grant in found]


def test_the_example_gets_what_a_person_agrees_to(
    served: Hall, asking: subprocess.Popen[str]
) -> None:
    """It asks, somebody says yes to its words, it collects and ends its task."""
    until(lambda: bool(waiting(served)) or asking.poll() is not None)
    shown = approve(served, waiting(served)[0])
    assert shown["untrusted_reason"] == "correct order 4012"
    said, wrong = asking.communicate(timeout=60)
    assert asking.returncode == 0, wrong
    assert " until " in said.splitlines()[-1]
    assert served.facts(kind="TaskEnded")
