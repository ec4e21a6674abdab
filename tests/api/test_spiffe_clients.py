"""Clients of SPIFFE, ours and others', from their agent's socket or their files to a task."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import X509Source

from tests.api.hall import Hall
from tests.api.served import Served
from tests.api.test_examples import ADDRESS, EXAMPLES, STANDING_IN, Logins
from tests.certificates import Holder, authority, bundle_pem
from tests.identity.test_svids import BOT, DOMAIN, record
from tests.workload_api import Agent, served
from valetkey.agentside.client import Valetkey
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import NoIdentity, find_source
from valetkey.agentside.wire import Refusal, Unreachable
from valetkey.bootstrap.tls import asking
from valetkey.identity.authenticator import Registered
from valetkey.identity.oidc import Outside
from valetkey.identity.workload_api import ToldBundle, WorkloadApi
from valetkey.testing.memory_store import MemoryStore
from valetkey.web.heads import BoundedHeads


class SpiffeHall(Hall):
    """A hall whose only trust domain is told of by an agent."""

    def __init__(self, stack: ExitStack, agent: WorkloadApi, url: str) -> None:
        self._agent = agent
        store = MemoryStore()
        store.time = datetime.now(UTC)
        super().__init__(stack, store, url=url)

    def _registered(self) -> Registered:
        usual = super()._registered()
        outside = Outside(
            fetch=lambda _: self._agent.keys(DOMAIN), bundle=ToldBundle(self._agent, DOMAIN)
        )
        domain = replace(
            record(DOMAIN),
            jwks=None,
            workload_api="unix:/agent",
            audience=self.url,
            replay="reusable_until_exp",
        )
        return replace(usual, issuers=(*usual.issuers, domain), outside={"here": outside})


@dataclass
class Mesh:
    """A trust domain with its agent, and a broker in it."""

    agent: Agent
    socket: str
    url: str
    ca: Path

    def client(self, **environment: str) -> Valetkey:
        """Our client, which finds its proof by these variables."""
        source = find_source(environment, self.url)
        assert source is not None
        return Valetkey(self.url, DpopKey.new(), source, ca_file=self.ca)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """The bot is bound to the ID that the agent gives its workload."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent, web = Agent(DOMAIN, BOT), authority("web")
        where = stack.enter_context(served(agent, folder))
        told = WorkloadApi(where, every=0.05)
        told.start()
        stack.callback(told.close)
        listening = socket.create_server(("127.0.0.1", 0))
        url = f"https://localhost:{listening.getsockname()[1]}"
        hall = SpiffeHall(stack, told, url)
        stage = hall.stage
        stage.minter = Logins()
        stage.broker = replace(stage.broker, minters={"fake": stage.minter})
        hall.app.state.desk = replace(hall.app.state.desk, broker=stage.broker)
        body = {"issuer": "here", "claims": {"sub": BOT}}
        bound = hall.owner.call("POST", "/v1/agents/refund-bot/bindings", body)
        assert bound.status_code == 201, bound.text
        certificate, key = web.server("localhost").written(folder, "server")
        factory = asking([ToldBundle(told, DOMAIN)])
        more = {"http": BoundedHeads, "ssl_certfile": certificate, "ssl_keyfile": key}
        stack.callback(Served(hall, listening, ssl_context_factory=factory, **more).close)
        ca = folder / "web-ca.pem"
        ca.write_bytes(bundle_pem(web))
        yield Mesh(agent, where, url, ca)


def files(holder: Holder, folder: Path) -> dict[str, str]:
    """The certificate and key where a platform would put them."""
    chain, key = holder.written(folder, "svid")
    return {"VALETKEY_X509_SVID_FILE": str(chain), "VALETKEY_X509_KEY_FILE": str(key)}


def start(broker: Valetkey) -> Any:
    """A task, started and looked at."""
    task = broker.start_task("a refund", ["orders-db:read"], 600)
    assert broker.task_tree(task["id"])
    return task


def test_our_client_works_with_a_certificate_in_files(mesh: Mesh, tmp_path: Path) -> None:
    """When it is renewed with another key the task goes on, because the client has one of its own."""
    with mesh.client(**files(mesh.agent.root.workload(BOT), tmp_path)) as broker:
        task = start(broker)
        files(mesh.agent.root.workload(BOT), tmp_path)
        broker.session.forget()
        assert broker.end_task(task["id"])["status"] == "complete"


@pytest.mark.parametrize("which", ["x509", "jwt", None], ids=str)
def test_our_client_works_with_what_the_workload_api_gives(mesh: Mesh, which: str | None) -> None:
    """A JWT-SVID for our audience unless a certificate is wanted."""
    mesh.agent.asked.clear()
    wanted = {} if which is None else {"VALETKEY_SVID": which}
    with mesh.client(SPIFFE_ENDPOINT_SOCKET=mesh.socket, **wanted) as broker:
        start(broker)
    assert mesh.agent.asked == ([] if which == "x509" else [mesh.url])


def test_a_certificate_of_nobody_here_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    """An ID without an agent by the broker, an unknown authority in the handshake."""
    with mesh.client(**files(mesh.agent.root.workload(f"{BOT}-2"), tmp_path)) as broker:
        with pytest.raises(Refusal) as refused:
            start(broker)
        assert refused.value.code == "unknown_agent"
    unknown = files(authority().workload(BOT), tmp_path)
    with mesh.client(**unknown) as broker, pytest.raises(Unreachable):
        start(broker)


def test_files_and_sockets_that_are_not_there_are_no_identity(mesh: Mesh, tmp_path: Path) -> None:
    """Missing, half written, of two pairs; no socket, and a word that means nothing."""
    good = files(mesh.agent.root.workload(BOT), tmp_path)
    other = mesh.agent.root.workload(BOT).written(tmp_path, "other")[1]
    broken = [
        {**good, "VALETKEY_X509_SVID_FILE": str(tmp_path / "nowhere")},
        {**good, "VALETKEY_X509_KEY_FILE": str(other)},
        {"SPIFFE_ENDPOINT_SOCKET": f"unix:{tmp_path / 'nowhere'}"},
        {"SPIFFE_ENDPOINT_SOCKET": f"unix:{tmp_path / 'nowhere'}", "VALETKEY_SVID": "x509"},
    ]
    for environment in broken:
        with mesh.client(**environment) as broker, pytest.raises(NoIdentity):
            start(broker)
    for environment in (
        {"SPIFFE_ENDPOINT_SOCKET": mesh.socket, "VALETKEY_SVID": "both"},
        {"VALETKEY_X509_SVID_FILE": "x"},
    ):
        with pytest.raises(NoIdentity):
            find_source(environment, mesh.url)


def test_the_command_line_finds_a_certificate_by_the_same_variables(
    mesh: Mesh, tmp_path: Path
) -> None:
    """As a process of its own, with nothing else around it."""
    environment = {
        **files(mesh.agent.root.workload(BOT), tmp_path),
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "VALETKEY_URL": mesh.url,
        "VALETKEY_CA_FILE": str(mesh.ca),
    }
    words = ("task", "start", "--purpose", "a refund", "--scope", "orders-db:read", "--ttl", "10m")
    run = subprocess.run(
        [sys.executable, "-m", "valetkey.cli", *words, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["state"] == "open"


def test_a_client_of_spiffes_own_library_works_with_its_source(mesh: Mesh, tmp_path: Path) -> None:
    """X509Source as it is, its certificate in a plain TLS context, and a token bound to it."""
    with X509Source(socket_path=mesh.socket, timeout_in_seconds=20) as source:
        svid = source.get_x509_context().default_svid
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    svid.save(chain, key, Encoding.PEM)
    context = ssl.create_default_context(cafile=mesh.ca)
    context.load_cert_chain(chain, key)

    def asked(path: str, body: bytes, **headers: str) -> Any:
        request = urllib.request.Request(mesh.url + path, body, headers)  # noqa: S310
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310
            return json.load(answer)

    given = asked("/oauth2/token", b"grant_type=client_credentials")
    assert given["token_type"] == "Bearer"
    plan = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600}
    headers = {
        "Authorization": f"Bearer {given['access_token']}",
        "Content-Type": "application/json",
    }
    task = asked("/v1/tasks", json.dumps(plan).encode(), **headers)
    assert task["state"] == "open"


@pytest.mark.parametrize("which", ["jwt", "x509"])
def test_the_example_runs_a_command_under_a_login(mesh: Mesh, tmp_path: Path, which: str) -> None:
    """`examples/workloads/spiffe.sh` as it is printed, with either identity of the agent."""
    for name in ("psql", "valetkey"):
        path = tmp_path / name
        path.write_text(STANDING_IN[name])
        path.chmod(0o755)
    script = (EXAMPLES / "spiffe.sh").read_text().replace(ADDRESS, mesh.url)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SPIFFE_ENDPOINT_SOCKET": mesh.socket,
        "VALETKEY_SVID": which,
        "VALETKEY_CA_FILE": str(mesh.ca),
    }
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script], env=environment, capture_output=True, text=True, timeout=90
    )
    assert (done.returncode, done.stdout[:3]) == (0, "as "), done.stderr


def test_the_example_needs_nothing_but_curl(mesh: Mesh, tmp_path: Path) -> None:
    """`examples/certificate.sh` as it is, and what it says when it is refused."""
    script = Path(__file__).parents[2] / "examples" / "certificate.sh"

    def run(written: str) -> subprocess.CompletedProcess[str]:
        chain, key = mesh.agent.root.workload(written).written(tmp_path, "curl")
        ours = {"SVID": str(chain), "SVID_KEY": str(key), "CA": str(mesh.ca)}
        environment = {"PATH": os.environ["PATH"], "VALETKEY_URL": mesh.url, **ours}
        return subprocess.run(["sh", script], env=environment, capture_output=True, text=True)

    good, stranger = run(BOT), run(f"{BOT}-2")
    assert (good.returncode, json.loads(good.stdout)["state"]) == (0, "open"), good.stderr
    assert stranger.returncode != 0
