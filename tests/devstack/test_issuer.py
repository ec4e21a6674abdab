"""The dev issuer as a process: logins of people, tokens of CI jobs and workloads."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import urllib3
from joserfc import jwt
from joserfc.jwk import KeySet

from valetkey.devstack import people, workload
from valetkey.devstack.issuer.logins import Login, Logins, OAuthError
from valetkey.devstack.issuer.people import PEOPLE
from valetkey.devstack.stack import Stack

CLIENT = "valetkey-cli"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=")
REDIRECT = "http://127.0.0.1:9/callback"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def get(url: str) -> urllib3.BaseHTTPResponse:
    """GET without following redirects."""
    return urllib3.request("GET", url, redirect=False, retries=False, timeout=10)


def post(stack: Stack, path: str, **fields: str) -> tuple[int, dict[str, Any]]:
    """POST a form to the issuer; status and JSON."""
    answer = urllib3.request(
        "POST",
        stack.issuer_url + path,
        body=urlencode(fields),
        headers=FORM,
        retries=False,
    )
    return answer.status, answer.json()


def claims(stack: Stack, token: str, issuer: str = "") -> dict[str, Any]:
    """The claims of a token whose signature holds by the JWKS its issuer publishes."""
    where = get(f"{issuer or stack.issuer_url}/.well-known/openid-configuration").json()
    keys = KeySet.import_key_set(get(where["jwks_uri"]).json())
    verified = jwt.decode(token, keys, algorithms=["ES256", "RS256"]).claims
    assert verified["iss"] == where["issuer"]
    return dict(verified)


def password(stack: Stack, person: str) -> str:
    """A sample person's password."""
    return people.password_of(Path(stack.endpoints()["issuer"]["people_file"]), person)


def authorize_url(stack: Stack, **changes: str) -> str:
    """An authorization request; `changes` replaces parameters, empty removes."""
    asked = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "scope": "openid email groups",
        "state": "s1",
        "nonce": "n1",
        "code_challenge": CHALLENGE.decode(),
        "code_challenge_method": "S256",
    } | changes
    asked = {name: value for name, value in asked.items() if value}
    return f"{stack.issuer_url}/authorize?{urlencode(asked)}"


def log_in(stack: Stack, person: str = "olivia") -> str:
    """Log in through the page; the code in the redirect."""
    address = authorize_url(stack)
    page = get(address).data.decode()
    filled_in = {"person": person, "password": password(stack, person)}
    where = people.send_form(page, filled_in, address).headers["Location"]
    answer = parse_qs(urlsplit(where).query)
    assert where.startswith(REDIRECT)
    assert answer["state"] == ["s1"]
    assert answer["iss"] == [stack.issuer_url]
    return answer["code"][0]


def redeem(stack: Stack, code: str, **changes: str) -> tuple[int, dict[str, Any]]:
    """Redeem a code at the token endpoint."""
    sent = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    return post(stack, "/token", **(sent | changes))


def begin_device(stack: Stack, nonce: str = "n2") -> dict[str, Any]:
    """Begin a device login."""
    status, answer = post(
        stack, "/device_authorization", client_id=CLIENT, scope="openid", nonce=nonce
    )
    assert status == 200
    return answer


def poll(stack: Stack, device_code: str) -> tuple[int, dict[str, Any]]:
    """Poll the token endpoint once."""
    return post(stack, "/token", grant_type=DEVICE, client_id=CLIENT, device_code=device_code)


def test_a_person_logs_in_by_code_with_pkce(stack: Stack) -> None:
    """The id_token names the person, groups, nonce and when; it lives fifteen minutes."""
    status, answer = redeem(stack, log_in(stack))
    found = claims(stack, answer["id_token"])
    assert status == 200
    assert (found["sub"], found["aud"], found["nonce"]) == ("olivia", CLIENT, "n1")
    assert found["groups"] == ["refunds-team"]
    assert found["email"] == "olivia@example.com"
    assert found["exp"] - found["iat"] == 900
    assert 0 <= found["iat"] - found["auth_time"] < 30
    assert found["jti"]


@pytest.mark.parametrize(
    "change",
    [{"code_verifier": "x" * 64}, {"redirect_uri": "http://127.0.0.1:10/callback"}],
)
def test_a_code_is_refused_with_another_verifier_or_address(
    stack: Stack, change: dict[str, str]
) -> None:
    """The failed try spends the code as well."""
    code = log_in(stack)
    status, answer = redeem(stack, code, **change)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert redeem(stack, code)[1]["error"] == "invalid_grant"


def test_a_code_works_once(stack: Stack) -> None:
    """The second redemption is invalid_grant."""
    code = log_in(stack)
    assert redeem(stack, code)[0] == 200
    assert redeem(stack, code)[1]["error"] == "invalid_grant"


def test_a_wrong_password_gives_the_form_again_and_no_code(stack: Stack) -> None:
    """403, and nothing of the password in the page."""
    address = authorize_url(stack)
    page = get(address).data.decode()
    answer = people.send_form(page, {"person": "olivia", "password": "guess-work"}, address)
    assert answer.status == 403
    assert "Wrong password" in answer.data.decode()
    assert "guess-work" not in answer.data.decode()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"nonce": ""}, "invalid_request"),
        ({"scope": "email"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_a_bad_authorization_request_goes_back_with_its_error(
    stack: Stack, changes: dict[str, str], error: str
) -> None:
    """The redirect carries the error, the state and the issuer."""
    answer = get(authorize_url(stack, **changes))
    sent_back = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert answer.status == 303
    assert (sent_back["error"], sent_back["state"]) == ([error], ["s1"])


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example/"},
        {"redirect_uri": "http://127.0.0.1@evil.example/"},
        {"redirect_uri": ""},
        {"client_id": "somebody"},
    ],
)
def test_no_redirect_leaves_this_machine(stack: Stack, changes: dict[str, str]) -> None:
    """Unknown clients and addresses that are not loopback get an error and no redirect."""
    answer = get(authorize_url(stack, **changes))
    assert answer.status in (400, 401)
    assert "Location" not in answer.headers


def test_a_repeated_parameter_is_refused(stack: Stack) -> None:
    """RFC 6749 3.1: request parameters must not be included more than once."""
    assert get(authorize_url(stack) + "&client_id=valetkey-cli").status == 400


def test_a_scripted_person_in_another_process_allows_a_device(stack: Stack) -> None:
    """The device waits, the person answers over HTTP, the id_token carries the device's nonce."""
    device = begin_device(stack, nonce="bound-to-this-grant")
    assert poll(stack, device["device_code"])[1]["error"] == "authorization_pending"
    issuer = stack.endpoints()["issuer"]
    argv = [sys.executable, "-m", "valetkey.devstack.people", "--issuer", issuer["url"]]
    argv += ["--people-file", issuer["people_file"], "--person", "arun"]
    argv += ["--user-code", device["user_code"]]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    assert said.startswith("scripted person arun: allowed")
    token = patiently(stack, device)["id_token"]
    found = claims(stack, token)
    assert (found["sub"], found["nonce"]) == ("arun", "bound-to-this-grant")
    assert found["groups"] == ["valetkey-approvers", "data-platform"]
    assert poll(stack, device["device_code"])[1]["error"] == "invalid_grant"


def patiently(stack: Stack, device: dict[str, Any]) -> dict[str, Any]:
    """Poll as often as the issuer allows (RFC 8628 3.5) until it gives tokens."""
    for _ in range(5):
        time.sleep(device["interval"])
        status, answer = poll(stack, device["device_code"])
        if status == 200:
            return answer
    raise AssertionError("no tokens")


def test_a_person_can_deny_a_device(stack: Stack) -> None:
    """The waiting device learns access_denied, once."""
    device = begin_device(stack)
    said = people.answer_device(
        stack.issuer_url,
        device["user_code"],
        "bea",
        password(stack, "bea"),
        allow=False,
    )
    assert said
    assert poll(stack, device["device_code"])[1]["error"] == "access_denied"
    assert poll(stack, device["device_code"])[1]["error"] == "invalid_grant"


def test_five_wrong_passwords_end_a_device_code(stack: Stack) -> None:
    """After the fifth the right password is too late."""
    device = begin_device(stack)
    for _ in range(5):
        assert not people.answer_device(stack.issuer_url, device["user_code"], "bea", "wrong")
    right = password(stack, "bea")
    assert not people.answer_device(stack.issuer_url, device["user_code"], "bea", right)
    assert poll(stack, device["device_code"])[1]["error"] == "access_denied"


def test_polling_too_fast_slows_down_and_a_late_code_expires() -> None:
    """RFC 8628 3.5 on a clock that is a variable: slow_down adds five seconds each time."""
    logins = Logins()
    device_code, user_code = logins.new_device(CLIENT, None, 0.0)
    assert refusal(logins, device_code, 0.0) == "authorization_pending"
    assert refusal(logins, device_code, 0.5) == "slow_down"
    assert refusal(logins, device_code, 5.5) == "slow_down"
    assert refusal(logins, device_code, 17.0) == "authorization_pending"
    assert refusal(logins, device_code, 601.0) == "expired_token"
    assert logins.device_by_user_code(user_code, 601.0) is None


def refusal(logins: Logins, device_code: str, now: float) -> str:
    """The error a poll at `now` gets."""
    with pytest.raises(OAuthError) as caught:
        logins.poll(device_code, CLIENT, now)
    return caught.value.code


def test_a_code_of_another_client_or_a_late_one_is_refused() -> None:
    """Codes live a minute and belong to the client they were made for."""
    logins = Logins()
    login = Login(PEOPLE[0], 0, CLIENT, "n")
    for sent, now in (((CLIENT, REDIRECT), 61.0), (("other", REDIRECT), 1.0)):
        code = logins.new_code(login, REDIRECT, CHALLENGE.decode(), 0.0)
        with pytest.raises(OAuthError, match="invalid_grant"):
            logins.redeem_code(code, VERIFIER, sent, now)


def test_a_ci_job_gets_a_github_shaped_token(stack: Stack) -> None:
    """Own issuer and keys, pinned ids in `sub`, the claims trust rules match on, five minutes."""
    token = workload.ci_token(stack.issuer_url, secret(stack, "ci.request-token"), "valetkey")
    found = claims(stack, token, f"{stack.issuer_url}/github")
    assert found["sub"] == "repo:acme@1001/refunds@2002:environment:production"
    assert (found["repository_id"], found["repository_owner_id"]) == ("2002", "1001")
    assert (found["aud"], found["ref_type"]) == ("valetkey", "branch")
    assert found["runner_environment"] == "github-hosted"
    assert found["exp"] - found["iat"] == 300
    kid = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert kid["alg"] == "RS256"


def test_a_workload_gets_only_its_own_token(stack: Stack) -> None:
    """The request token says who asks; the audience is the asker's choice; each has its `jti`."""
    for name in ("refund-bot", "report-bot"):
        request_token = secret(stack, f"{name}.request-token")
        tokens = [workload.workload_token(stack.issuer_url, request_token, "v") for _ in range(2)]
        first, second = (claims(stack, one, f"{stack.issuer_url}/workloads") for one in tokens)
        assert first["sub"] == f"system:serviceaccount:refunds:{name}"
        assert first["aud"] == ["v"]
        assert first["jti"] != second["jti"]
        assert first["exp"] - first["iat"] == 600


def secret(stack: Stack, name: str) -> str:
    """A request token from the issuer's folder."""
    return (stack.folder.root / "issuer" / name).read_text(encoding="ascii")


@pytest.mark.parametrize("other", ["", "guess", "ci.request-token"])
def test_without_its_request_token_nobody_gets_a_workload_token(stack: Stack, other: str) -> None:
    """No token, a wrong one, or the CI job's: refused."""
    token = secret(stack, other) if other.endswith("token") else other
    with pytest.raises(PermissionError):
        workload.workload_token(stack.issuer_url, token, "valetkey")


def test_realms_share_no_key(stack: Stack) -> None:
    """A key of one realm is in no other's JWKS, so its token cannot pass there."""
    seen: set[str] = set()
    for realm in ("", "/github", "/workloads", "/platform"):
        keys = get(f"{stack.issuer_url}{realm}/.well-known/jwks").json()["keys"]
        assert all("d" not in key for key in keys)
        kids = {key["kid"] for key in keys}
        assert kids.isdisjoint(seen)
        seen |= kids


def test_a_workloads_platform_writes_its_token_to_a_private_file(
    stack: Stack, tmp_path: Path
) -> None:
    """The command line leaves a 0600 file with a token for the audience asked."""
    out = tmp_path / "token"
    request_file = stack.folder.root / "issuer" / "refund-bot.request-token"
    arguments = [
        "--issuer",
        stack.issuer_url,
        "--audience",
        "valetkey",
        "--out",
        str(out),
    ]
    assert workload.main([*arguments, "--request-token-file", str(request_file)]) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert claims(stack, out.read_text(), f"{stack.issuer_url}/workloads")["aud"] == ["valetkey"]
