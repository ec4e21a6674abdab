"""How people log in: authorization code with PKCE in a browser, device flow without one.

RFC 7636, 8252 (loopback redirect), 8628 (device flow), 9207 (`iss` in the answer). The broker
says which issuer and client to use (`valetkey_login` in its metadata). A login made for one
object, to approve exactly that, carries the object's name as `nonce`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from valetkey.agentside.identity import ID_TOKEN_TYPE, Proof
from valetkey.agentside.loopback import Redirect
from valetkey.agentside.wire import Refusal, Wire

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SCOPE = "openid email profile groups"
SLOW_DOWN = 5.0


class LoginFailed(Exception):
    """The login did not come to an end: denied, too late, or not answered as it must be."""


@dataclass(frozen=True)
class Shown:
    """What a person must see: where to go, and for the device flow which code to compare."""

    url: str
    user_code: str | None = None


@dataclass(frozen=True)
class Login:
    """Where people log in: the issuer's endpoints, and our client id there."""

    issuer: str
    client_id: str
    endpoints: dict[str, Any]

    @classmethod
    def of(cls, wire: Wire, base_url: str) -> Login:
        """Ask the broker, then the issuer. Raises LoginFailed, Refusal or Unreachable."""
        about = f"{base_url.rstrip('/')}/.well-known/oauth-authorization-server"
        told = wire.send("GET", about).body.get("valetkey_login")
        if not isinstance(told, dict) or not told.get("issuer") or not told.get("client_id"):
            raise LoginFailed("this Valetkey names no issuer for people")
        issuer = str(told["issuer"])
        where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        endpoints = wire.send("GET", where).body
        if endpoints.get("issuer") != issuer:
            raise LoginFailed("the issuer calls itself by another name")
        return cls(issuer, str(told["client_id"]), endpoints)

    def endpoint(self, name: str) -> str:
        """The address of one endpoint. Raises LoginFailed when the issuer has none."""
        if not isinstance(found := self.endpoints.get(name), str):
            raise LoginFailed(f"the issuer has no {name}")
        return found


def by_device(wire: Wire, login: Login, nonce: str | None, show: Callable[[Shown], None]) -> Proof:
    """Log in without a browser here: `show` is called, then we wait for the person's answer.

    Raises LoginFailed when the person says no or is too late.
    """
    form = {"client_id": login.client_id, "scope": SCOPE, "nonce": nonce or _random()}
    where = login.endpoint("device_authorization_endpoint")
    begun = wire.send("POST", where, form=form).body
    url = begun.get("verification_uri_complete") or begun["verification_uri"]
    show(Shown(str(url), str(begun["user_code"])))
    interval = float(begun.get("interval", 5))
    deadline = time.monotonic() + float(begun["expires_in"])
    form = {
        "grant_type": DEVICE_GRANT,
        "client_id": login.client_id,
        "device_code": str(begun["device_code"]),
    }
    while time.monotonic() < deadline:
        time.sleep(interval)
        try:
            return _id_token(wire.send("POST", login.endpoint("token_endpoint"), form=form).body)
        except Refusal as no:
            if no.code not in ("authorization_pending", "slow_down"):
                raise LoginFailed(f"the issuer refused the login: {no.code}") from None
            interval += SLOW_DOWN if no.code == "slow_down" else 0
    raise LoginFailed("nobody answered in time")


def by_browser(
    wire: Wire, login: Login, nonce: str | None, show: Callable[[Shown], None], within: float = 300
) -> Proof:
    """Log in with a browser on this machine: `show` is called with the address to open.

    Raises LoginFailed when no good answer came back within `within` seconds.
    """
    verifier, state = _random(), _random()
    with Redirect() as redirect:
        asked = {
            "response_type": "code",
            "client_id": login.client_id,
            "redirect_uri": redirect.uri,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce or _random(),
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
            "prompt": "login",
            "max_age": "0",
        }
        show(Shown(f"{login.endpoint('authorization_endpoint')}?{urlencode(asked)}"))
        answer = redirect.answer(within)
    form = {
        "grant_type": "authorization_code",
        "client_id": login.client_id,
        "redirect_uri": asked["redirect_uri"],
        "code": _code(answer, state, login),
        "code_verifier": verifier,
    }
    return _id_token(wire.send("POST", login.endpoint("token_endpoint"), form=form).body)


def _code(answer: dict[str, str], state: str, login: Login) -> str:
    """The authorization code, once the answer is known to be the issuer's to our question."""
    if not answer:
        raise LoginFailed("nobody answered in time")
    if not secrets.compare_digest(answer.get("state", ""), state):
        raise LoginFailed("the answer belongs to another login")
    told = login.endpoints.get("authorization_response_iss_parameter_supported")
    if (told or "iss" in answer) and answer.get("iss") != login.issuer:
        raise LoginFailed("the answer comes from another issuer")
    if "code" not in answer:
        raise LoginFailed("the issuer refused the login")
    return answer["code"]


def _id_token(body: dict[str, Any]) -> Proof:
    if not isinstance(token := body.get("id_token"), str):
        raise LoginFailed("the issuer gave no id_token")
    return Proof(token, ID_TOKEN_TYPE)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _random() -> str:
    return secrets.token_urlsafe(32)
