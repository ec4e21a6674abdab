"""The Workload API: bundles of trust domains from an agent, and what it means that it is away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from spiffe import WorkloadApiClient

from tests.certificates import authority
from tests.identity.place import US
from tests.identity.test_registered import settings
from tests.identity.test_spiffe import BOT, DOMAIN
from tests.workload_api import Agent, served
from valetkey.bootstrap.doors import registered_of
from valetkey.core.errors import NotReady
from valetkey.identity.oidc import ProofReader
from valetkey.identity.workload_api import WorkloadApi

SOON = 0.05


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true; fail after 20 seconds."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def agent() -> Agent:
    """An agent of the trust domain that knows us as one of its workloads."""
    return Agent(DOMAIN, f"{DOMAIN}/valetkey")


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[WorkloadApi]:
    """Somebody who asks the agent at the socket of this test's folder, often."""
    api = WorkloadApi(f"unix:{tmp_path / 'agent.sock'}", every=SOON)
    yield api
    api.close()


def test_bundles_are_told_and_told_again(
    agent: Agent, watching: WorkloadApi, tmp_path: Path
) -> None:
    """Authorities and keys of today, without a restart."""
    with served(agent, tmp_path):
        watching.start()
        assert watching.authorities(DOMAIN) == (agent.root.certificate,)
        (jwk,) = json.loads(watching.keys(DOMAIN))["keys"]
        assert (jwk["kid"], jwk["use"], jwk["kty"]) == ("k1", "jwt-svid", "EC")
        assert watching.problem(DOMAIN) is None
        agent.root, agent.keys = authority(), {"k2": ECKey.generate_key("P-256")}
        until(lambda: watching.authorities(DOMAIN) == (agent.root.certificate,))
        until(lambda: json.loads(watching.keys(DOMAIN))["keys"][0]["kid"] == "k2")


def test_a_domain_that_the_agent_does_not_tell_of_is_not_ready(
    agent: Agent, watching: WorkloadApi, tmp_path: Path
) -> None:
    """Of that domain nobody gets in; the others go on."""
    with served(agent, tmp_path):
        watching.start()
        assert watching.authorities(DOMAIN)
        with pytest.raises(NotReady):
            watching.authorities("spiffe://example.com")
        with pytest.raises(OSError, match="no such trust domain"):
            watching.keys("spiffe://example.com")
        assert watching.problem("spiffe://example.com")


def test_an_agent_that_goes_away_leaves_what_it_told_and_one_that_comes_is_asked(
    agent: Agent, watching: WorkloadApi, tmp_path: Path
) -> None:
    """Before it came nobody gets in; while it is away what it told last is in force."""
    watching.start()
    with pytest.raises(NotReady):
        watching.authorities(DOMAIN)
    assert watching.problem(DOMAIN)
    with served(agent, tmp_path):
        until(lambda: watching.problem(DOMAIN) is None)
    assert watching.authorities(DOMAIN) == (agent.root.certificate,)


def test_an_agent_that_does_not_know_us_tells_nothing(
    agent: Agent, watching: WorkloadApi, tmp_path: Path
) -> None:
    """No identity issued: not ready, as if it were away."""
    agent.written = None
    with served(agent, tmp_path):
        watching.start()
        with pytest.raises(NotReady):
            watching.authorities(DOMAIN)


@pytest.mark.parametrize("socket", ["/run/agent.sock", "tcp://127.0.0.1:1", "unix:agent.sock", ""])
def test_only_a_socket_of_this_machine_is_asked(socket: str) -> None:
    """Written as SPIFFE writes it."""
    with pytest.raises(ValueError, match="unix:"):
        WorkloadApi(socket)


def test_a_trust_domain_is_registered_by_its_workload_api_alone(
    agent: Agent, tmp_path: Path
) -> None:
    """Tokens and certificates of it are read then, certificates where TLS is ours."""
    with served(agent, tmp_path) as socket:
        issuer = {"platform": "spiffe", "issuer": DOMAIN, "workload_api": socket}
        server = {"tls_certificate_file": tmp_path / "tls.pem"}
        registered = registered_of(settings(tmp_path, issuer, server=server))
        reader = ProofReader.of(registered.issuers, registered.outside)
        now = datetime.now(UTC)
        assert reader.svids.read(agent.root.workload(BOT).peer, now).subject == BOT
        with WorkloadApiClient(socket) as client:
            token = client.fetch_jwt_svid(audience={US}).token
        assert reader.read(token, "any", now).subject == f"{DOMAIN}/valetkey"
        behind_a_proxy = registered_of(settings(tmp_path, issuer))
        assert not ProofReader.of(behind_a_proxy.issuers, behind_a_proxy.outside).svids


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"platform": "generic", "algorithms": ("ES256",)}, "trust domains of SPIFFE"),
        ({"workload_api": "tcp://127.0.0.1:1"}, "unix:"),
        ({"x509_bundle_file": "/nowhere"}, "both"),
        ({"jwks_uri": "https://example.org/bundle"}, "one of"),
    ],
    ids=str,
)
def test_a_workload_api_that_could_never_be_of_use_is_refused(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    """At the start, by the issuer's name."""
    issuer = {"platform": "spiffe", "issuer": DOMAIN, "workload_api": "unix:/nowhere", **changes}
    server = {"tls_certificate_file": tmp_path / "tls.pem"}
    with pytest.raises(ValueError, match=f"issuer here.*{why}"):
        registered_of(settings(tmp_path, issuer, server=server))
