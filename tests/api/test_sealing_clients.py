"""Our own client and command against a real server: what is sealed on the way is opened there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.api.hall import SCOPE, Hall
from tests.api.served import Served
from tests.api.test_client_keys import BINDINGS
from tests.flows.test_sealing import requiring
from valetkey.agentside.client import Ask, Granted, Valetkey, Waiting
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import JWT_TYPE, Proof, ProofSource
from valetkey.agentside.sealing import CannotBeOpened
from valetkey.agentside.wire import Refusal
from valetkey.core.facts import FactKind
from valetkey.store.sql_store import SqlStore

WRITE = "orders-db:write{region=eu}"


@pytest.fixture
def hall(sql_store: SqlStore) -> Iterator[Hall]:
    """A hall at its own loopback address, whose agent a pod may be."""
    with ExitStack() as stack:
        listening = socket.create_server(("127.0.0.1", 0))
        hall = Hall(stack, sql_store, url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        stack.callback(Served(hall, listening).close)
        binding = {"issuer": "workloads", "claims": {"sub": "pod-one"}}
        assert hall.owner.call("POST", BINDINGS, binding).status_code == 201
        yield hall


def pod(hall: Hall) -> str:
    """The platform's proof."""
    return hall.issuers["workloads"].sign(time.time(), {"sub": "pod-one", "aud": hall.url})


@pytest.fixture
def client(hall: Hall) -> Iterator[Valetkey]:
    """The SDK as that pod."""
    source = ProofSource("pod", lambda: Proof(pod(hall), JWT_TYPE))
    with Valetkey(hall.url, DpopKey.new(), source) as opened:
        yield opened


def told(hall: Hall, kind: FactKind) -> list[object]:
    """To which keys facts of this kind say that something was sealed."""
    return [x.fact.body.get("sealed_to") for x in hall.facts() if x.fact.kind is kind]


def test_the_client_seals_when_told_to_and_fetches_again(hall: Hall, client: Valetkey) -> None:
    """It gives what was minted, as ever; the key is in no repr."""
    task = client.start_task("a refund", ["orders-db:read"], 600)["id"]
    got = client.request(Ask(task, SCOPE, 300), idempotency_key="one", seal=True)
    assert isinstance(got, Granted)
    assert got.credential["value"] == hall.stage.minter.secrets_made[0]
    for again in (
        client.request(Ask(task, SCOPE, 300), idempotency_key="one", seal=True),
        client.fetch_sealed(got.lease["id"]),
    ):
        assert isinstance(again, Granted) and again.credential == got.credential
    named = client.sealing_key.thumbprint
    assert told(hall, FactKind.ASK_ALLOWED) == [named]
    assert told(hall, FactKind.SEALED_FETCHED) == [named, named]
    assert repr(client.sealing_key) == f"SealingKey({named})"


def test_the_client_seals_by_itself_where_the_catalogue_demands_it(
    hall: Hall, client: Valetkey
) -> None:
    """Nothing about the program that asks has to change."""
    requiring(hall.stage)
    task = client.start_task("a refund", ["orders-db:read"], 600)["id"]
    got = client.request(Ask(task, SCOPE, 300))
    assert isinstance(got, Granted)
    assert got.credential["value"] == hall.stage.minter.secrets_made[0]
    assert hall.refusals() == ["sealing_required"]


def test_what_was_approved_for_a_key_is_collected_by_its_process_alone(
    hall: Hall, client: Valetkey
) -> None:
    """Another process of the same agent and key is told before anything is minted."""
    task = client.start_task("a refund", ["orders-db:write"], 600)["id"]
    waiting = client.request(Ask(task, WRITE, 300), seal=True)
    assert isinstance(waiting, Waiting)
    assert waiting.grant["shown"]["sealed_to"] == client.sealing_key.thumbprint
    grant = waiting.grant
    fresh = hall.fresh(hall.approver, grant["fresh_for"])
    shown = {"shown_hash": grant["shown_hash"]}
    assert fresh.call("POST", f"/v1/grants/{grant['id']}/approve", shown).status_code == 200
    with (
        Valetkey(hall.url, client.session._key, client.session._source) as other,
        pytest.raises(CannotBeOpened, match="only the process that asked holds"),
    ):
        other.collect(grant["id"])
    assert not hall.stage.minter.secrets_made
    got = client.collect(grant["id"])
    assert isinstance(got, Granted)
    assert got.credential["value"] == hall.stage.minter.secrets_made[0]


def command(hall: Hall, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """`valetkey`, as a process of that pod."""
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(pod(hall))
    env = {
        "PATH": os.environ["PATH"],
        "VALETKEY_HOME": str(folder / "home"),
        "VALETKEY_URL": hall.url,
        "VALETKEY_IDENTITY_TOKEN_FILE": str(folder / "token"),
    }
    return subprocess.run(
        [sys.executable, "-m", "valetkey.cli", *argv],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_prints_what_was_sealed_and_keeps_no_key(hall: Hall, tmp_path: Path) -> None:
    """With `--seal`, and without it where it must be; no file has a key but the one for proofs."""
    made = command(hall, tmp_path, *START)
    task = json.loads(made.stdout)["id"]
    ask = ("request", SCOPE, "--task", task, "--ttl", "5m", "--json")
    for more in (("--seal",), ()):
        done = command(hall, tmp_path, *ask, *more)
        assert done.returncode == 0, done.stderr
        value = json.loads(done.stdout)["credential"]["value"]
        assert value == hall.stage.minter.secrets_made[-1]
        requiring(hall.stage)
    assert len(set(told(hall, FactKind.ASK_ALLOWED))) == 2
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and '"d"' in path.read_text()]
    assert [path.name for path in kept] == ["workload.key.json"]


START = (
    *("task", "start", "--purpose", "a refund", "--ttl", "10m", "--json"),
    *("--scope", "orders-db:read", "--scope", "orders-db:write"),
)


def test_a_command_that_only_waits_says_that_nobody_else_can_open_it(
    hall: Hall, tmp_path: Path
) -> None:
    """Exit 3 with the grant; its key is gone with it, and collecting says so, exit 1."""
    task = json.loads(command(hall, tmp_path, *START).stdout)["id"]
    done = command(hall, tmp_path, "request", WRITE, "--task", task, "--ttl", "5m", "--seal", "--json")
    assert done.returncode == 3 and "--wait" in done.stderr
    grant = json.loads(done.stdout)["grant"]["id"]
    refused = command(hall, tmp_path, "grant", "collect", grant, "--json")
    assert refused.returncode == 1 and "sealing_failed" in refused.stderr
    assert not hall.stage.minter.secrets_made


def test_a_refused_ask_is_refused_as_before(hall: Hall, client: Valetkey) -> None:
    """Only `sealing_required` is asked again."""
    task = client.start_task("a refund", ["orders-db:read"], 600)["id"]
    with pytest.raises(Refusal) as refused:
        client.request(Ask(task, "orders-db:nothing{region=eu}", 300))
    assert refused.value.code == "unknown_scope"
    assert len(hall.refusals()) == 1
