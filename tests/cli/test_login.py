"""People log in against the real dev issuer; and approve with a login made for exactly that."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
import urllib3
import uvicorn

from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker
from valetkey.agentside.client import Valetkey
from valetkey.agentside.login import Login, LoginFailed, Shown, by_browser, by_device
from valetkey.agentside.loopback import Redirect
from valetkey.agentside.wire import Wire
from valetkey.devstack.issuer.app import Issuer, make_app
from valetkey.devstack.issuer.keys import realms
from valetkey.devstack.issuer.logins import Logins
from valetkey.devstack.issuer.people import CLIENT_ID, register
from valetkey.devstack.people import answer_device, send_form
from valetkey.devstack.process import _pick


@dataclass(frozen=True)
class RunningIssuer:
    """The dev issuer on loopback, with the people's passwords."""

    url: str
    passwords: dict[str, str]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIssuer]:
    """One real issuer in a thread."""
    folder = tmp_path_factory.mktemp("issuer")
    port = _pick(set())
    url = f"http://127.0.0.1:{port}"
    known = register(folder)
    app = make_app(Issuer(realms(folder, url), known, Logins()))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    _wait(lambda: server.started)
    yield RunningIssuer(url, known.passwords)
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def login(issuer: RunningIssuer, broker: FakeBroker) -> Iterator[tuple[Wire, Login]]:
    """Where to log in, as the broker and the issuer say."""
    names_issuer(broker, issuer.url)
    wire = Wire()
    yield wire, Login.of(wire, broker.url)
    wire.close()


def names_issuer(broker: FakeBroker, url: str) -> None:
    """Have the broker's metadata name an issuer."""
    told = {"issuer": broker.url, "valetkey_login": {"issuer": url, "client_id": CLIENT_ID}}
    broker.on("GET /.well-known/oauth-authorization-server", (200, told))


def _wait(done: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not done():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.01)


def _claims(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_device_login_gives_the_id_token_with_our_nonce(
    login: tuple[Wire, Login], issuer: RunningIssuer
) -> None:
    """The person answers on the issuer's page; the token was made for the object we named."""

    def show(shown: Shown) -> None:
        password = issuer.passwords["arun"]
        assert answer_device(issuer.url, str(shown.user_code), "arun", password)

    proof = by_device(*login, "approve:grant_1:abc", show)
    claims = _claims(proof.token)
    assert (claims["sub"], claims["nonce"]) == ("arun", "approve:grant_1:abc")
    assert proof.token not in repr(proof)


def test_a_denied_device_login_fails(login: tuple[Wire, Login], issuer: RunningIssuer) -> None:
    """A no on the page is a no in the terminal."""

    def show(shown: Shown) -> None:
        answer_device(
            issuer.url, str(shown.user_code), "arun", issuer.passwords["arun"], allow=False
        )

    with pytest.raises(LoginFailed, match="access_denied"):
        by_device(*login, None, show)


def _browser(issuer: RunningIssuer, change: Callable[[str], str] = lambda url: url):
    """Somebody at a browser: opens the address, logs in, follows the redirect (changed)."""

    def open_page(address: str) -> None:
        page = urllib3.request("GET", address, retries=False, timeout=10).data.decode()
        filled_in = {"person": "bea", "password": issuer.passwords["bea"]}
        answer = send_form(page, filled_in, address)
        urllib3.request("GET", change(answer.headers["location"]), retries=False, timeout=10)

    def show(shown: Shown) -> None:
        threading.Thread(target=open_page, args=[shown.url], daemon=True).start()

    return show


def test_a_browser_login_gives_the_id_token(
    login: tuple[Wire, Login], issuer: RunningIssuer
) -> None:
    """Authorization code with PKCE comes back over loopback."""
    proof = by_browser(*login, "approve:grant_1:abc", _browser(issuer))
    claims = _claims(proof.token)
    assert (claims["sub"], claims["nonce"]) == ("bea", "approve:grant_1:abc")


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("another login", lambda url: re.sub(r"state=[^&]+", "state=forged", url)),
        ("another issuer", lambda url: re.sub(r"iss=[^&]+", "iss=https%3A%2F%2Fevil", url)),
        ("another issuer", lambda url: re.sub(r"&?iss=[^&]+", "", url)),
        ("refused", lambda url: re.sub(r"code=[^&]+", "error=access_denied", url)),
    ],
    ids=["state", "issuer", "no issuer", "error"],
)
def test_a_forged_answer_to_a_browser_login_is_refused(
    login: tuple[Wire, Login], issuer: RunningIssuer, what: str, change: Callable[[str], str]
) -> None:
    """State and issuer (RFC 9207) must be ours before a code is spent."""
    with pytest.raises(LoginFailed, match=what):
        by_browser(*login, None, _browser(issuer, change))


def test_nobody_at_the_browser_ends_the_wait(login: tuple[Wire, Login]) -> None:
    """After the time given, the login has failed."""
    with pytest.raises(LoginFailed, match="in time"):
        by_browser(*login, None, lambda shown: None, within=0.2)


def test_the_redirect_takes_one_answer_at_one_path() -> None:
    """Other paths, repeated parameters, and a second answer are turned away."""
    with Redirect() as redirect:
        base = redirect.uri.removesuffix("/callback")
        for path in ("/other?state=1", "/callback?code=1", "/callback?state=1&state=2"):
            assert urllib3.request("GET", base + path, retries=False).status == 404
        assert urllib3.request("GET", f"{redirect.uri}?state=a&code=b", retries=False).status == 200
        assert urllib3.request("GET", f"{redirect.uri}?state=c&code=d", retries=False).status == 404
        assert redirect.answer(1) == {"state": "a", "code": "b"}


def test_an_issuer_that_calls_itself_otherwise_is_refused(
    broker: FakeBroker, issuer: RunningIssuer
) -> None:
    """Discovery must name the very issuer that the broker named."""
    names_issuer(broker, f"{issuer.url}/")
    wire = Wire()
    with pytest.raises(LoginFailed, match="another name"):
        Login.of(wire, broker.url)
    wire.close()


def test_approving_shows_marks_and_logs_in_for_exactly_this_grant(
    person: Terminal, broker: FakeBroker, issuer: RunningIssuer, tmp_path: Path
) -> None:
    """What is approved is shown on stderr, the login's nonce and the sent hash are the grant's."""
    from valetkey.cli.scripted import Person

    names_issuer(broker, issuer.url)
    approved = {**samples.GRANT, "state": "approved"}
    broker.on("GET /v1/grants/grant_1", (200, samples.GRANT))
    broker.on("POST /v1/grants/grant_1/approve", (200, approved))
    people_file = tmp_path / "people.json"
    people_file.write_text(_people_json(issuer))
    scripted = Person("arun", issuer.url, people_file)
    env = {"VALETKEY_HOME": str(person.home), "VALETKEY_URL": broker.url, "PATH": "/usr/bin:/bin"}
    command = ["grant", "approve", "grant_1", "--yes", "--device", "--json"]
    done = scripted.with_device_login(command, env)
    assert done.returncode == 0, done.stderr
    assert "reason (claimed by the asker, not checked)" in done.stderr
    assert "\x1b" not in done.stderr
    (sent,) = broker.made("POST /v1/grants/grant_1/approve")
    assert sent.json == {"shown_hash": samples.GRANT["shown_hash"]}
    fresh = broker.made("POST /oauth2/token")[-1].form["subject_token"]
    assert _claims(fresh)["nonce"] == samples.GRANT["fresh_for"]


def test_an_agent_is_let_act_after_a_login_for_exactly_that(
    person: Terminal, broker: FakeBroker, issuer: RunningIssuer, tmp_path: Path
) -> None:
    """What the refusal names is shown first, and is the nonce of the login that follows."""
    from valetkey.cli.scripted import Person

    names_issuer(broker, issuer.url)
    fresh_for = "delegate:" + "a" * 64
    refused = {"code": "fresh_login_required", "agent": "bot", "agent_id": "agent_7"}
    given = {"id": "delegation_1", "agent": "bot", "live": True}
    refusal = (401, {**refused, "fresh_for": fresh_for})
    broker.on("POST /v1/delegations", refusal, (201, given))
    people_file = tmp_path / "people.json"
    people_file.write_text(_people_json(issuer))
    scripted = Person("arun", issuer.url, people_file)
    env = {"VALETKEY_HOME": str(person.home), "VALETKEY_URL": broker.url, "PATH": "/usr/bin:/bin"}
    command = ["delegation", "give", "bot", "--scope", "orders-db:read", "--for", "8h"]
    done = scripted.with_device_login([*command, "--yes", "--device", "--json"], env)
    assert done.returncode == 0, done.stderr
    assert "agent_id: agent_7" in done.stderr
    assert json.loads(done.stdout)["id"] == "delegation_1"
    bodies = [call.json for call in broker.made("POST /v1/delegations")]
    assert bodies == [{"agent": "bot", "scopes": ["orders-db:read"], "ttl": 28800}] * 2
    fresh = broker.made("POST /oauth2/token")[-1].form["subject_token"]
    assert _claims(fresh)["nonce"] == fresh_for


def test_saying_no_lets_no_agent_act(person: Terminal, broker: FakeBroker) -> None:
    """Nothing is sent after the refusal that says what it would take."""
    refused = {"code": "fresh_login_required", "agent": "bot", "agent_id": "agent_7"}
    broker.on("POST /v1/delegations", (401, {**refused, "fresh_for": "delegate:x"}))
    command = ("delegation", "give", "bot", "--scope", "orders-db:read", "--for", "1h")
    done = person.run(*command, stdin="n\n")
    assert done.exit_code == 1
    assert len(broker.made("POST /v1/delegations")) == 1


def _people_json(issuer: RunningIssuer) -> str:
    return json.dumps({name: {"password": word} for name, word in issuer.passwords.items()})


def test_saying_no_at_the_prompt_approves_nothing(person: Terminal, broker: FakeBroker) -> None:
    """Without --yes a person is asked; anything but yes sends nothing."""
    broker.on("GET /v1/grants/grant_1", (200, samples.GRANT))
    done = person.run("grant", "approve", "grant_1", stdin="n\n")
    assert done.exit_code == 1
    assert not broker.made("POST /v1/grants/grant_1/approve")


def test_logging_in_keeps_the_login_and_says_who_we_are(
    broker: FakeBroker, issuer: RunningIssuer, tmp_path: Path
) -> None:
    """`login --url` writes the profile; the token that it got is for the person."""
    from valetkey.cli.scripted import Person

    names_issuer(broker, issuer.url)
    people_file = tmp_path / "people.json"
    people_file.write_text(_people_json(issuer))
    env = {"VALETKEY_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    command = ["login", "--url", broker.url, "--device", "--json"]
    done = Person("olivia", issuer.url, people_file).with_device_login(command, env)
    assert done.returncode == 0, done.stderr
    (exchanged,) = broker.made("POST /oauth2/token")
    assert _claims(exchanged.form["subject_token"])["sub"] == "olivia"
    again = Terminal(tmp_path / "home").run("whoami")
    assert again.exit_code == 0
    assert broker.count() == 1


def test_the_sdk_ends_its_task_when_the_block_is_left(broker: FakeBroker, tmp_path: Path) -> None:
    """Also when the block is left by an exception."""
    from valetkey.agentside.dpop import DpopKey
    from valetkey.agentside.identity import Proof, ProofSource

    broker.on("POST /v1/tasks", (201, samples.TASK))
    broker.on("POST /v1/tasks/task_1/end", (200, samples.RECEIPT))
    source = ProofSource("test", lambda: Proof("a.b.c"))
    with (
        Valetkey(broker.url, DpopKey.new(), source) as client,
        pytest.raises(RuntimeError, match="oh"),
        client.task("x", ["orders-db:read"], 60) as task,
    ):
        assert task["id"] == "task_1"
        raise RuntimeError("oh")
    assert len(broker.made("POST /v1/tasks/task_1/end")) == 1


def test_the_authorization_request_says_what_it_must(
    login: tuple[Wire, Login], issuer: RunningIssuer
) -> None:
    """PKCE by S256, a state, a nonce, a loopback redirect, and a login that is really new."""
    seen: dict[str, str] = {}

    def show(shown: Shown) -> None:
        seen.update(parse_qsl(urlsplit(shown.url).query))

    with pytest.raises(LoginFailed):
        by_browser(*login, "object", show, within=0.1)
    assert seen["code_challenge_method"] == "S256"
    assert len(seen["code_challenge"]) == 43
    assert (seen["nonce"], seen["prompt"], seen["max_age"]) == ("object", "login", "0")
    assert seen["redirect_uri"].startswith("http://127.0.0.1:")
    assert len(seen["state"]) >= 32
