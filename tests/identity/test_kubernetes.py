"""Kubernetes: projected tokens, and an API server (a stub) that vouches for each of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.identity.api_server_stub import OURS, ApiServerStub, api_server
from tests.identity.place import US
from tests.identity.platform_doors import Door, door
from valetkey.core.errors import BrokerError, NotReady, Unauthenticated, UnknownAgent
from valetkey.core.trust import TrustRuleTooWide, check_binding
from valetkey.identity.api_server import Access, ApiServer
from valetkey.identity.oidc import Outside, ProofReader, VerifiedProof
from valetkey.testing.issuer import WITHOUT

BOUND: dict[str, Any] = {
    "namespace": "refunds",
    "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
    "pod": {"name": "refund-bot-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
    "serviceaccount": {"name": "refund-bot", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
    "warnafter": 1772000000,
}
GOOD = {"sub": "system:serviceaccount:refunds:refund-bot", "aud": [US], "kubernetes.io": BOUND}
PINS = {
    "kubernetes.io/namespace": "refunds",
    "kubernetes.io/serviceaccount/name": "refund-bot",
    "kubernetes.io/serviceaccount/uid": BOUND["serviceaccount"]["uid"],
}


class Cluster:
    """A door to which a cluster's stub belongs."""

    def __init__(self, entrance: Door, stub: ApiServerStub, folder: Path) -> None:
        self.door, self.stub = entrance, stub
        self.token_file = folder / "our.token"
        self.token_file.write_text(f"{OURS}\n")
        self.answers_to(Access(stub.url, self.token_file, within=0.5))

    def answers_to(self, access: Access) -> None:
        """Ask at this address from now on, for reviews and for keys."""
        server = ApiServer(access)
        self.door.outside["here"] = Outside(server.fetch, server.vouch)
        self.door.record["jwks_uri"] = f"{access.url}/openid/v1/jwks"

    def enter(self, **claims: object) -> str | None:
        """Exchange the good token, with changes; the agent's name."""
        return self.door.enter(self.door.token(**claims)).agent


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with one pod of refund-bot."""
    with (
        door("kubernetes", GOOD, PINS, "workload") as entrance,
        api_server(entrance.issuer) as stub,
    ):
        yield Cluster(entrance, stub, tmp_path)


def bound(**changes: object) -> dict[str, object]:
    """The object of the platform, with members changed or left out."""
    members = {**BOUND, **changes}
    return {"kubernetes.io": {k: v for k, v in members.items() if v is not WITHOUT}}


def test_a_pod_gets_in_and_the_cluster_was_asked_for_our_audience(cluster: Cluster) -> None:
    """Keys and review come from the API server; what tells the pod is kept for history."""
    assert cluster.enter() == "refund-bot"
    assert [asked["audiences"] for asked in cluster.stub.asked] == [[US]]
    assert cluster.door.told[0].unaccounted == ()
    assert cluster.door.told[0].noted["kubernetes.io/pod/uid"] == BOUND["pod"]["uid"]


def test_the_cluster_is_asked_again_for_each_exchange(cluster: Cluster) -> None:
    """The same token, shown again after its pod was deleted, is no longer good."""
    token = cluster.door.token()
    cluster.door.enter(token)
    cluster.stub.deleted.add(BOUND["pod"]["uid"])
    with pytest.raises(Unauthenticated, match="vouch"):
        cluster.door.enter(token)
    assert len(cluster.stub.asked) == 2


def test_a_member_that_nobody_knows_is_reported(cluster: Cluster) -> None:
    """By its place inside the object."""
    cluster.enter(**bound(moon="full"))
    assert cluster.door.told[0].unaccounted == ("kubernetes.io/moon",)


OFFLINE: dict[str, dict[str, object]] = {
    "of the older kind": {
        "kubernetes.io": WITHOUT,
        "kubernetes.io/serviceaccount/namespace": "refunds",
        "kubernetes.io/serviceaccount/secret.name": "refund-bot-token",
        "kubernetes.io/serviceaccount/service-account.uid": BOUND["serviceaccount"]["uid"],
    },
    "good, with a claim of the older kind": {
        "kubernetes.io/serviceaccount/uid": BOUND["serviceaccount"]["uid"],
        "kubernetes.io/serviceaccount/secret.name": "refund-bot-token",
    },
    "without an end": {"exp": WITHOUT},
    "without an audience": {"aud": WITHOUT},
    "for the API server as well": {"aud": [US, "https://kubernetes.default.svc"]},
    "bound to nothing": bound(pod=WITHOUT),
    "bound to a secret": bound(secret={"name": "s", "uid": "1"}),
    "without a service account": bound(serviceaccount=WITHOUT),
    "without the account's uid": bound(serviceaccount={"name": "refund-bot"}),
    "with an empty pod uid": bound(pod={"name": "p", "uid": ""}),
    "with a namespace that is no text": bound(namespace=["refunds"]),
    "with an object that is a text": {"kubernetes.io": "refunds"},
    "of another account by its subject": {"sub": "system:serviceaccount:refunds:other"},
    "of another namespace by its subject": {"sub": "system:serviceaccount:other:refund-bot"},
}


@pytest.mark.parametrize("why", OFFLINE)
def test_a_token_costs_the_cluster_nothing_when_it_is(cluster: Cluster, why: str) -> None:
    """Refused by its signature and claims alone; nobody is asked."""
    with pytest.raises(Unauthenticated):
        cluster.enter(**OFFLINE[why])
    assert cluster.stub.asked == []


@pytest.mark.parametrize(
    "changes",
    [
        {"serviceaccount": {"name": "refund-bot", "uid": "another"}},
        {"namespace": "staging"},
    ],
    ids=["an account made again under its name", "another namespace"],
)
def test_a_token_of_another_account_is_nobodys(
    cluster: Cluster, changes: dict[str, object]
) -> None:
    """Good in the cluster, but not what was pinned."""
    namespace = changes.get("namespace", "refunds")
    with pytest.raises(UnknownAgent):
        cluster.enter(**bound(**changes), sub=f"system:serviceaccount:{namespace}:refund-bot")


VOUCHED: dict[str, dict[str, Any]] = {
    "that it does not know the token": {"authenticated": False},
    "yes in other words": {"authenticated": "true"},
    "yes with an error": {"error": "audiences"},
    "yes for no audience": {"audiences": []},
    "yes for another audience": {"audiences": ["https://kubernetes.default.svc"]},
    "yes without saying for whom": {"audiences": None},
    "yes for another account": {"user": {"username": "system:serviceaccount:refunds:other"}},
    "yes for an account of another uid": {"user": {"username": GOOD["sub"], "uid": "other"}},
    "yes for another pod": {
        "user": {
            "username": GOOD["sub"],
            "uid": BOUND["serviceaccount"]["uid"],
            "extra": {"authentication.kubernetes.io/pod-uid": ["other"]},
        }
    },
    "yes for nobody": {"user": None},
}


@pytest.mark.parametrize("why", VOUCHED)
def test_nobody_gets_in_when_the_cluster_says(cluster: Cluster, why: str) -> None:
    """Only a plain yes, for us, to the same account and pod, is one."""
    cluster.stub.changes = VOUCHED[why]
    with pytest.raises(Unauthenticated, match="vouch"):
        cluster.enter()
    assert cluster.door.uses.kept_until() == []


MOODS = {
    "is failing": (503, b"{}"),
    "forbids us to ask": (403, b"{}"),
    "does not know us": (401, b"{}"),
    "sends us elsewhere": (307, b""),
    "answers no JSON": (201, b"<html>"),
    "answers too much": (201, b" " * 70_000),
    "answers nothing": (201, b""),
}


@pytest.mark.parametrize("why", MOODS)
def test_nobody_gets_in_while_the_api_server(cluster: Cluster, why: str) -> None:
    """That is our trouble and not the pod's: 503, nothing is used up, and it goes well later."""
    token = cluster.door.token()
    cluster.door.record["jwks_uri"] = cluster.door.issuer.jwks_uri
    cluster.door.outside["here"] = replace(cluster.door.outside["here"], fetch=Outside().fetch)
    cluster.stub.mood = MOODS[why]
    with pytest.raises(NotReady) as refused:
        cluster.door.enter(token)
    assert refused.value.retry_after
    assert "oauth_error" not in refused.value.extra
    assert cluster.door.uses.kept_until() == []
    assert token not in str(refused.value)
    cluster.stub.mood = None
    assert cluster.door.enter(token).agent == "refund-bot"


def test_an_api_server_that_is_silent_is_waited_for_only_so_long(cluster: Cluster) -> None:
    """It is not ready, within the time that was given."""
    cluster.stub.silent.clear()
    began = datetime.now(UTC)
    with pytest.raises(NotReady):
        cluster.enter()
    assert datetime.now(UTC) - began < timedelta(seconds=8)


def test_a_cluster_that_is_slow_is_waited_for_by_few(cluster: Cluster) -> None:
    """Beyond those nobody asks it anything: not ready, at once; the first goes well later."""
    there, asked, held = cluster.door.outside["here"], threading.Event(), threading.Event()
    vouch = there.vouch
    assert vouch is not None

    def slowly(proof: VerifiedProof) -> None:
        asked.set()
        assert held.wait(60)
        vouch(proof)

    slow = {"here": replace(there, vouch=slowly, at_once=1)}
    reader = ProofReader.of(cluster.door.registered().issuers, slow)
    first, second = cluster.door.token(), cluster.door.token()
    now = cluster.door.time.now()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.read, first, "key", now)
        try:
            assert asked.wait(60)
            with pytest.raises(NotReady) as refused:
                reader.read(second, "another key", now)
            assert refused.value.retry_after == 1.0
        finally:
            held.set()
        assert waiting.result(60).subject == GOOD["sub"]


def test_without_our_own_token_nobody_gets_in(cluster: Cluster) -> None:
    """The file is read at each question, so it works again as soon as it is there."""
    cluster.enter()
    cluster.token_file.unlink()
    with pytest.raises(NotReady):
        cluster.enter()
    cluster.token_file.write_text(OURS)
    assert cluster.enter() == "refund-bot"


def test_the_api_server_is_known_by_its_ca(cluster: Cluster, tmp_path: Path) -> None:
    """With the CA in settings it is asked; with none but the system's it is nobody."""
    pem = _certificate(tmp_path)
    with api_server(cluster.door.issuer, pem) as secure:
        cluster.answers_to(Access(secure.url, cluster.token_file, pem))
        assert cluster.enter() == "refund-bot"
        cluster.answers_to(Access(secure.url, cluster.token_file))
        with pytest.raises(BrokerError) as refused:
            cluster.enter()
    assert type(refused.value) is NotReady
    assert len(secure.asked) == 1


def test_a_cluster_that_nobody_can_ask_cannot_be_registered(cluster: Cluster) -> None:
    """Offline checks alone cannot see that a pod is gone."""
    cluster.door.outside.clear()
    with pytest.raises(ValueError, match="vouch"):
        cluster.enter()


@pytest.mark.parametrize("url", ["http://10.0.0.1", "ftp://x", "kubernetes.default.svc"])
def test_our_token_goes_over_tls_only(url: str, tmp_path: Path) -> None:
    """Plain http is for loopback."""
    with pytest.raises(ValueError, match="https"):
        Access(url, tmp_path / "token")


@pytest.mark.parametrize("name", PINS)
def test_a_binding_without_namespace_name_and_uid_is_refused(name: str) -> None:
    """A subject is a name; an account made again under it is somebody else."""
    pins = {**PINS, "sub": GOOD["sub"]}
    assert check_binding(pins.items(), "kubernetes") is None  # type: ignore[arg-type]
    del pins[name]
    with pytest.raises(TrustRuleTooWide, match=name):
        check_binding(pins.items(), "kubernetes")  # type: ignore[arg-type]


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that is its own CA, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stub")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = folder / "stub.pem"
    pem.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return pem
