"""Our AWS clients know only what they were told: no environment, no home, no metadata."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from valetkey.core.errors import MinterRefused, MinterUnavailable, OutcomeUnknown
from valetkey.minters.aws_clients import AwsClients, Endpoints, Identity, Keys, isolated_session
from valetkey.minters.aws_errors import AWS_TROUBLE, spoken

ROLE = "arn:aws:iam::123456789012:role/broker"
SESSION = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAOWN</AccessKeyId>
<SecretAccessKey>own</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>UNTIL</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
WHO = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>a</Arn><UserId>u</UserId><Account>1</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


class Heard:
    """A server that answers what it is told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.until = "2099-01-01T00:00:00Z"
        self.redirect = False
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                heard.asked.append((self.headers.get("Authorization", ""), body))
                if heard.redirect:
                    self.send_response(307)
                    self.send_header("Location", f"{heard.address}/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                text = SESSION.replace("UNTIL", heard.until) if "WebIdentity" in body else WHO
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def heard() -> Iterator[Heard]:
    """One that listens while the test runs."""
    server = Heard()
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()
    thread.join()


@contextmanager
def strange_surroundings(home: Path, monkeypatch: pytest.MonkeyPatch, lure: str) -> Iterator[None]:
    """A machine that has keys, endpoints and proxies of somebody else everywhere."""
    (home / ".aws").mkdir()
    keys = "[default]\naws_access_key_id = AKIAHOME\naws_secret_access_key = home\n"
    (home / ".aws" / "credentials").write_text(keys)
    (home / ".aws" / "config").write_text(f"[default]\nregion = xx-home-1\nendpoint_url = {lure}\n")
    told = {
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
        "AWS_SECRET_ACCESS_KEY": "environment",
        "AWS_SESSION_TOKEN": "environment",
        "AWS_PROFILE": "default",
        "AWS_ENDPOINT_URL": lure,
        "AWS_ENDPOINT_URL_STS": lure,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": lure,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{lure}/keys",
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        "AWS_MAX_ATTEMPTS": "9",
        "HTTP_PROXY": lure,
        "HTTPS_PROXY": lure,
        "http_proxy": lure,
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    yield


def key_file(folder: Path, key: str = "AKIAOWN", mode: int = 0o600) -> Path:
    """A key of our own in a file."""
    path = folder / "own.key"
    path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = own\n")
    path.chmod(mode)
    return path


def test_nothing_around_us_is_used(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own key, our own endpoint, no proxy, and one attempt."""
    lure = Heard()
    with strange_surroundings(tmp_path, monkeypatch, lure.address):
        clients = AwsClients(Identity(key_file(tmp_path)), Endpoints(sts=heard.address))
        sts = clients.sts("eu-central-1")
        sts.get_caller_identity()
        assert "Credential=AKIAOWN/" in heard.asked[0][0]
        assert "/eu-central-1/sts/" in heard.asked[0][0]
        assert sts.meta.config.retries["total_max_attempts"] == 1
        session = isolated_session()
        assert session.get_credentials() is None
        assert session.get_config_variable("region") is None
        bare = session.create_client("sts", region_name="eu-central-1", endpoint_url=heard.address)
        with pytest.raises(NoCredentialsError):
            bare.get_caller_identity()
    lure.server.server_close()
    assert lure.asked == []


def test_without_an_identity_of_our_own_nothing_is_asked(heard: Heard) -> None:
    """There is no other to fall back to."""
    with pytest.raises(MinterUnavailable, match="no identity"):
        AwsClients(Identity(), Endpoints(sts=heard.address)).sts("eu-central-1")
    assert heard.asked == []


def test_a_redirect_is_not_followed(heard: Heard, tmp_path: Path) -> None:
    """Whoever answers for AWS does not send us elsewhere with a signed request."""
    heard.redirect = True
    clients = AwsClients(Identity(key_file(tmp_path)), Endpoints(sts=heard.address))
    with pytest.raises(AWS_TROUBLE):
        clients.sts("eu-central-1").get_caller_identity()
    assert len(heard.asked) == 1


def test_a_platforms_token_is_shown_for_a_role_of_our_own(heard: Heard, tmp_path: Path) -> None:
    """Unsigned, from its file; what comes back signs the rest, until shortly before its end."""
    token = tmp_path / "token"
    token.write_text("proof\n")
    identity = Identity(role_arn=ROLE, web_identity_token_file=token)
    clients = AwsClients(identity, Endpoints(sts=heard.address))
    for _ in range(2):
        clients.sts("eu-central-1").get_caller_identity()
    (unsigned, exchange), (signed, _), _ = heard.asked
    assert unsigned == ""
    assert "WebIdentityToken=proof&" in f"{exchange}&"
    assert "Credential=ASIAOWN/" in signed
    heard.until = "2020-01-01T00:00:00Z"
    heard.asked.clear()
    late = AwsClients(identity, Endpoints(sts=heard.address))
    for _ in range(2):
        late.sts("eu-central-1").get_caller_identity()
    assert sum("WebIdentityToken" in body for _, body in heard.asked) == 2


def test_a_key_that_was_replaced_is_used_from_then_on(heard: Heard, tmp_path: Path) -> None:
    """Without a restart; the same one makes no new client."""
    clients = AwsClients(Identity(key_file(tmp_path)), Endpoints(sts=heard.address))
    assert clients.sts("eu-central-1") is clients.sts("eu-central-1")
    clients.sts("eu-central-1").get_caller_identity()
    key_file(tmp_path, "AKIAREPLACED")
    clients.sts("eu-central-1").get_caller_identity()
    assert "Credential=AKIAREPLACED/" in heard.asked[-1][0]


@pytest.mark.parametrize("text", ["", "[default]\n", "[other]\naws_access_key_id=x\n", "junk"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    """And never quoted."""
    path = key_file(tmp_path)
    path.write_text(text)
    with pytest.raises(MinterUnavailable, match="has no key"):
        AwsClients(Identity(path), Endpoints()).sts("eu-central-1")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """So is one that is not there."""
    with pytest.raises(MinterUnavailable, match="read by others"):
        AwsClients(Identity(key_file(tmp_path, mode=0o644)), Endpoints()).sts("eu-central-1")
    with pytest.raises(MinterUnavailable, match="cannot be read"):
        AwsClients(Identity(tmp_path / "none"), Endpoints()).sts("eu-central-1")


def test_keys_print_nothing() -> None:
    """Nor does what holds them."""
    assert "hush" not in repr(Keys("hush", "hush", "hush"))


def answered(code: str, status: int = 400) -> ClientError:
    """A refusal of AWS."""
    said = {"Error": {"Code": code, "Message": "hush"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "AssumeRole")


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (answered("AccessDenied", 403), MinterRefused),
        (answered("PackedPolicyTooLarge"), MinterRefused),
        (answered("<script>"), MinterRefused),
        (answered("Throttling"), MinterUnavailable),
        (answered("ExpiredToken", 403), MinterUnavailable),
        (answered("InternalFailure", 500), OutcomeUnknown),
        (EndpointConnectionError(endpoint_url="x"), MinterUnavailable),
        (ReadTimeoutError(endpoint_url="x"), OutcomeUnknown),
        (ConnectionClosedError(endpoint_url="x"), OutcomeUnknown),
        (ResponseParserError("<hush> is no XML of AWS's"), OutcomeUnknown),
    ],
)
def test_what_was_sent_and_not_answered_is_unknown(
    problem: Exception, kind: type[Exception]
) -> None:
    """What was answered is refused or may be tried again; AWS's own words are not repeated."""
    ours = spoken(problem, once=True)
    assert type(ours) is kind
    assert "hush" not in str(ours)
    assert "<" not in str(ours)
    again = spoken(problem, once=False)
    assert type(again) is (kind if kind is MinterRefused else MinterUnavailable)


def test_a_process_with_an_empty_environment_can_make_a_client(tmp_path: Path) -> None:
    """No home, no path, no proxy."""
    program = (
        "import sys; from pathlib import Path\n"
        "from valetkey.minters.aws_clients import *\n"
        "AwsClients(Identity(Path(sys.argv[1])), Endpoints()).sts('eu-central-1'); print('made')"
    )
    argv = [sys.executable, "-c", program, str(key_file(tmp_path))]
    done = subprocess.run(argv, env={}, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "made", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["own.key"]
