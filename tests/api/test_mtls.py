"""Certificates over real TLS, shown by curl and OpenSSL as they are, to the server as it is."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.hall import SCOPE, US, Hall
from tests.api.served import Served
from tests.certificates import SIGNS, Holder, Wanted, authority, bundle_pem
from tests.identity.test_svids import BOT, DOMAIN, record
from valetkey.bootstrap.tls import asking
from valetkey.core.backchannel import CIBA
from valetkey.identity.authenticator import Registered
from valetkey.identity.authorities import BundleFile
from valetkey.identity.details import TYPE
from valetkey.identity.oidc import Outside
from valetkey.web.heads import BoundedHeads

HOST = US.removeprefix("https://")
PLAN = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600}
LONG_AGO = timedelta(days=-3650)
"""When certificates here begin: the hall's time is another than OpenSSL's."""
HANDSHAKE = (35, 52, 55, 56)
"""How curl ends when TLS refuses it: in the handshake, or with the first bytes after it."""


class CertifiedHall(Hall):
    """A hall that knows the trust domain of a bundle."""

    def __init__(self, stack: ExitStack, bundle: BundleFile) -> None:
        self._bundle = bundle
        super().__init__(stack)

    def _registered(self) -> Registered:
        usual = super()._registered()
        outside = {"here": Outside(bundle=self._bundle)}
        return replace(usual, issuers=(*usual.issuers, record(DOMAIN)), outside=outside)


@dataclass
class Ground:
    """A served hall with TLS, the trust domain's root, and a folder for everybody's files."""

    served: Served
    root: Holder
    folder: Path
    contexts: dict[Any, ssl.SSLContext] = field(default_factory=dict)

    def curl(self, path: str, *words: str, holder: Holder | None = None) -> tuple[int, str]:
        """curl's exit code and what came; with a holder's certificate."""
        shown: tuple[str | Path, ...] = ()
        if holder is not None:
            chain, key = holder.written(self.folder, "client")
            shown = ("--cert", chain, "--key", key)
        where = ("--connect-to", f"{HOST}:443:127.0.0.1:{self.served.port}")
        ca = ("--cacert", self.folder / "web.pem")
        run = subprocess.run(
            ["curl", "-sS", "--max-time", "20", *ca, *where, *shown, *words, US + path],
            capture_output=True,
            text=True,
        )
        return run.returncode, run.stdout

    def token(self, holder: Holder | None, **form: str) -> Any:
        """The answer of the token endpoint."""
        fields = {"grant_type": "client_credentials", **form}
        words = [word for name, value in fields.items() for word in ("-d", f"{name}={value}")]
        code, said = self.curl("/oauth2/token", *words, holder=holder)
        assert code == 0
        return json.loads(said)

    def call(self, token: str, path: str, holder: Holder | None, body: object = None) -> Any:
        """A call with a bearer token: the status and the answer."""
        sent = () if body is None else ("--json", json.dumps(body))
        words = ("-w", "\n%{http_code}", "-H", f"Authorization: Bearer {token}", *sent)
        code, said = self.curl(path, *words, holder=holder)
        assert code == 0
        answer, _, status = said.rpartition("\n")
        return int(status), json.loads(answer)

    def bundle(self, *roots: Holder) -> None:
        """Make these the authorities of the trust domain."""
        (self.folder / "bundle.pem").write_bytes(bundle_pem(*roots))


def svid(ground: Ground, written: str = BOT, **changes: object) -> Holder:
    """A certificate of the trust domain."""
    return ground.root.workload(written, begins=LONG_AGO, **changes)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """The hall over TLS as `serve` does it, with one workload bound to the bot."""
    web, root = authority("web"), authority(begins=LONG_AGO)
    (tmp_path / "web.pem").write_bytes(bundle_pem(web))
    certificate, key = web.server(HOST).written(tmp_path, "server")
    (tmp_path / "bundle.pem").write_bytes(bundle_pem(root))
    bundle = BundleFile(str(tmp_path / "bundle.pem"))
    tls = {"ssl_certfile": certificate, "ssl_keyfile": key}
    with ExitStack() as stack:
        hall = CertifiedHall(stack, bundle)
        body = {"issuer": "here", "claims": {"sub": BOT}}
        bound = hall.owner.call("POST", "/v1/agents/refund-bot/bindings", body)
        assert bound.status_code == 201, bound.text
        more = {"http": BoundedHeads, "loop": "uvloop", **tls}
        served = Served(hall, ssl_context_factory=asking([bundle]), **more)
        stack.callback(served.close)
        yield Ground(served, root, tmp_path)


def test_curl_gets_a_token_with_its_certificate_and_works_with_it(ground: Ground) -> None:
    """From a certificate to a task; the same token is worth nothing without or with another."""
    holder = svid(ground)
    given = ground.token(holder, client_id=BOT)
    assert given["token_type"] == "Bearer", given
    status, task = ground.call(given["access_token"], "/v1/tasks", holder, PLAN)
    assert status == 201, task
    for other in (None, svid(ground), svid(ground, f"{DOMAIN}/x")):
        status, refused = ground.call(given["access_token"], f"/v1/tasks/{task['id']}", other)
        assert (status, refused["code"]) == (401, "key_mismatch")


def test_people_are_asked_by_a_certificate_as_well(ground: Ground) -> None:
    """The back channel knows its client by a token that is bound to the connection."""
    holder = svid(ground)
    whole = ground.token(holder)["access_token"]
    task = ground.call(whole, "/v1/tasks", holder, PLAN)[1]["id"]
    detail = {"type": TYPE, "task": task, "scope": SCOPE, "ttl": 60}

    def sent(path: str, by: Holder, **form: str) -> Any:
        words = [word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")]
        code, said = ground.curl(path, "-H", f"Authorization: Bearer {whole}", *words, holder=by)
        assert code == 0
        return json.loads(said)

    begun = sent("/oauth2/bc-authorize", holder, authorization_details=json.dumps([detail]))
    form = {"grant_type": CIBA, "auth_req_id": begun["auth_req_id"]}
    assert sent("/oauth2/token", svid(ground), **form)["error"] == "invalid_client"
    given = sent("/oauth2/token", holder, **form)
    assert given["token_type"] == "Bearer", given
    grant = given["authorization_details"][0]["grant"]
    collected = ground.call(given["access_token"], f"/v1/grants/{grant}/collect", holder, {})
    assert collected[0] == 201, collected


def test_a_renewed_certificate_of_the_same_key_keeps_its_tasks(ground: Ground) -> None:
    """And one with a new key does not: who wants that, adds a DPoP key."""
    first = svid(ground)
    task = ground.call(ground.token(first)["access_token"], "/v1/tasks", first, PLAN)[1]["id"]
    ask = {"task": task, "scope": SCOPE, "ttl": 60}

    def explained(holder: Holder) -> tuple[int, Any]:
        token = ground.token(holder)["access_token"]
        return ground.call(token, "/v1/credentials/explain", holder, ask)

    assert explained(svid(ground, key=first.key))[0] == 200
    status, refused = explained(svid(ground))
    assert (status, refused["code"]) == (404, "not_found"), refused


def test_nobody_has_to_show_a_certificate(ground: Ground) -> None:
    """Everything else is as it was; a token by certificate is refused in words of OAuth."""
    assert ground.curl("/healthz")[0] == 0
    assert ground.token(None)["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Client-Cert", "X-SSL-Client-Cert", "Client-Cert", "X-Client-Cert"]
)
def test_a_header_is_no_certificate(ground: Ground, header: str) -> None:
    """No proxy in front is believed."""
    pem = svid(ground).pem.decode().replace("\n", "%0A")
    form = ("-d", "grant_type=client_credentials", "-d", "client_id=refund-bot")
    code, said = ground.curl("/oauth2/token", "-H", f"{header}: {pem}", *form)
    assert (code, json.loads(said)["error"]) == (0, "invalid_dpop_proof")


def test_certificates_between_are_handed_on_in_each_version_of_tls(ground: Ground) -> None:
    """The whole chain reaches the application, in TLS 1.2 and 1.3."""
    holder = ground.root.sign(Wanted("between", SIGNS, LONG_AGO)).workload(BOT, begins=LONG_AGO)
    form = ("-d", "grant_type=client_credentials")
    for version in ("1.2", "1.3"):
        exactly = (f"--tlsv{version}", "--tls-max", version)
        code, said = ground.curl("/oauth2/token", *exactly, *form, holder=holder)
        assert (code, json.loads(said).get("token_type")) == (0, "Bearer"), said


def test_an_unknown_authority_ends_in_the_handshake(ground: Ground) -> None:
    """Nothing of the application is reached, and others are served on."""
    code, said = ground.curl("/healthz", holder=authority().workload(BOT))
    assert code in HANDSHAKE, said
    assert ground.curl("/healthz")[0] == 0


def test_a_new_bundle_counts_from_the_next_connection_on(ground: Ground) -> None:
    """Without a restart: the new authority's workloads come in, the old one's do not."""
    old, root = ground.root.workload(BOT, begins=LONG_AGO), authority(begins=LONG_AGO)
    new = root.workload(BOT, begins=LONG_AGO)
    assert ground.token(old)["token_type"] == "Bearer"
    assert ground.curl("/healthz", holder=new)[0] in HANDSHAKE
    ground.bundle(ground.root, root)
    assert ground.token(new)["token_type"] == ground.token(old)["token_type"] == "Bearer"
    ground.bundle(root)
    assert ground.token(new)["token_type"] == "Bearer"
    assert ground.curl("/healthz", holder=old)[0] in HANDSHAKE


def s_client(ground: Ground, holder: Holder, *words: str, sent: str = "") -> str:
    """What OpenSSL's own client tells of a connection."""
    chain, key = holder.written(ground.folder, "openssl")
    certificate = ("-cert", chain, "-cert_chain", chain, "-key", key)
    run = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{ground.served.port}"),
            *("-servername", HOST, "-CAfile", ground.folder / "web.pem", *certificate, *words),
        ],
        input=sent,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return run.stdout + run.stderr


def test_openssl_is_asked_and_served(ground: Ground) -> None:
    """A plain request over its connection, with a form, gives a token."""
    form = "grant_type=client_credentials"
    head = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close"
    request = f"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Length: {len(form)}"
    said = s_client(ground, svid(ground), "-ign_eof", sent=f"{request}\r\n\r\n{form}")
    assert '"token_type":"Bearer"' in said
    assert "Verify return code: 0 (ok)" in said


def over(ground: Ground, holder: Holder, session: ssl.SSLSession | None) -> tuple[Any, Any, bool]:
    """A token request over TLS 1.2: its answer, the session, and whether that was resumed."""
    context = ground.contexts.setdefault(holder.peer, ssl.create_default_context())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ground.folder / "web.pem")
    context.load_cert_chain(*holder.written(ground.folder, "resumed"))
    form = "grant_type=client_credentials"
    media = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close"
    head = f"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n{media}\r\nContent-Length: {len(form)}"
    plain = socket.create_connection(("127.0.0.1", ground.served.port), timeout=20)
    with context.wrap_socket(plain, server_hostname=HOST, session=session) as line:
        line.sendall(f"{head}\r\n\r\n{form}".encode())
        got, kept, again = b"", line.session, bool(line.session_reused)
        while chunk := line.recv(65536):
            got += chunk
    return json.loads(got.partition(b"\r\n\r\n")[2]), kept, again


def test_a_resumed_session_is_judged_like_a_new_one(ground: Ground) -> None:
    """TLS 1.2 may resume one: its certificates are handed on, and looked at under today's bundle."""
    holder = ground.root.sign(Wanted("between", SIGNS, LONG_AGO)).workload(BOT, begins=LONG_AGO)
    given, session, _ = over(ground, holder, None)
    assert given["token_type"] == "Bearer"
    given, session, again = over(ground, holder, session)
    assert (given["token_type"], again) == ("Bearer", True)
    ground.bundle(authority(begins=LONG_AGO))
    refused, _, again = over(ground, holder, session)
    assert (refused["error"], again) == ("invalid_client", True)
