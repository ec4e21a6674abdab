"""Certificates at `valetkey serve` itself: a process with settings of its own, on real Postgres."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import yaml

from bench.doors.ground import NAME, prepare
from tests.api.served import until
from tests.certificates import Holder, authority, bundle_pem
from tests.contract.databases import Databases
from tests.identity.test_svids import BOT, DOMAIN
from valetkey.agentside.client import Valetkey
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.spiffe import from_certificate
from valetkey.agentside.wire import trusting
from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.scope import Scope
from valetkey.store.sql_store import open_store


@dataclass
class Place:
    """A folder with everything `serve` reads, and where it listens."""

    folder: Path
    url: str
    root: Holder

    @property
    def config(self) -> Path:
        """Its settings."""
        return self.folder / f"{NAME}.yaml"

    def metrics(self) -> str:
        """What it measures; nothing while it does not listen."""
        with httpx2.Client(verify=trusting(self.folder / "web-ca.pem")) as client:
            try:
                return client.get(f"{self.url}/metrics").text
            except httpx2.TransportError:
                return ""

    def client(self) -> Valetkey:
        """Our client with a new certificate."""
        source = from_certificate(*self.root.workload(BOT).written(self.folder, "svid"))
        return Valetkey(self.url, DpopKey.new(), source, ca_file=self.folder / "web-ca.pem")


@pytest.fixture
def place(databases: Databases, tmp_path: Path) -> Place:
    """A broker's files, with TLS and a trust domain, and an agent bound to an ID of it."""
    database = databases.fresh()
    addresses = databases.owner(database), databases.app(database)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    prepare(tmp_path, addresses, port)
    place = Place(tmp_path, f"https://localhost:{port}", authority())
    web = authority("web")
    (tmp_path / "web-ca.pem").write_bytes(bundle_pem(web))
    (tmp_path / "bundle.pem").write_bytes(bundle_pem(place.root))
    web.server("localhost").written(tmp_path, "tls")
    settings = yaml.safe_load(place.config.read_text())
    tls = {"tls_certificate_file": "tls.pem", "tls_key_file": "tls.key"}
    domain = {"name": "mesh", "kind": "workload", "platform": "spiffe", "issuer": DOMAIN}
    domain |= {"audience": place.url, "x509_bundle_file": "bundle.pem"}
    settings |= {"external_url": place.url, "server": {"port": port, **tls}}
    settings["issuers"].append(domain)
    place.config.write_text(yaml.safe_dump(settings))
    bound(addresses[1])
    return place


def bound(database: str) -> None:
    """An agent whose workload has that ID."""
    now, owner = datetime.now(UTC), "olivia@example.com"
    agent = Agent(
        id="agent_bot",
        name="refund-bot",
        owner=owner,
        team="refunds",
        environment="production",
        labels={},
        boundary=(Scope("reports-api", "export"),),
        state=AgentState.ACCEPTED,
        created_by=owner,
        created_by_rule="refunds-ci",
        created_at=now,
    )
    store = open_store(database, pool=2, kept=2)
    with store.transaction() as tx:
        tx.add_agent(agent)
        tx.add_binding(Binding("binding_1", agent.id, "mesh", (("sub", BOT),), owner, now))
    store.close()


@contextmanager
def serving(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """`valetkey serve` until SIGTERM, which it obeys."""
    argv = [sys.executable, "-m", "valetkey.cli", "serve", "--config", str(place.config)]
    with (place.folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(argv, env={**os.environ}, stdout=log, stderr=log)
    try:
        until(lambda: bool(place.metrics()) or process.poll() is not None)
        assert process.poll() is None, (place.folder / "serve.log").read_text()
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)


def test_serve_lets_a_workload_in_by_its_certificate(place: Place) -> None:
    """From the settings to a task; a broken bundle is told, and stops nobody for the day."""
    with serving(place) as process:
        assert 'valetkey_bundle_ok{issuer="mesh"} 1.0' in place.metrics()
        with place.client() as broker:
            assert broker.start_task("a report", ["reports-api:export"], 600)["state"] == "open"
        (place.folder / "bundle.pem").write_text("nothing")
        assert 'valetkey_bundle_ok{issuer="mesh"} 0.0' in place.metrics()
        with place.client() as broker:
            assert broker.start_task("a report", ["reports-api:export"], 600)["state"] == "open"
    assert process.returncode in (0, -signal.SIGTERM)
    log = (place.folder / "serve.log").read_text()
    assert "Traceback" not in log
