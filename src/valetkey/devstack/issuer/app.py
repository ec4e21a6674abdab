"""The dev issuer's HTTP surface: OIDC for people, and tokens for CI jobs and workloads.

OpenID Connect Core 1.0 code flow with PKCE (RFC 7636, S256 only) and `iss` in the answer (RFC
9207), device flow (RFC 8628), discovery. There is no session: each login asks for the password,
so `auth_time` is always now. Clients are public (`valetkey-cli`), redirects are loopback only
(RFC 8252 7.3).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from valetkey.devstack.issuer import pages
from valetkey.devstack.issuer.keys import Realm
from valetkey.devstack.issuer.logins import (
    DEVICE_LIFE,
    INTERVAL,
    Login,
    Logins,
    OAuthError,
)
from valetkey.devstack.issuer.people import CLIENT_ID, Register
from valetkey.devstack.issuer.platforms import add_platforms

ID_TOKEN_LIFE = 900
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
BODY_LIMIT = 16 * 1024
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CARRIED = ("client_id", "redirect_uri", "state", "nonce", "code_challenge", "scope")

Form = dict[str, str]


@dataclass(frozen=True)
class Issuer:
    """What every route needs: realms with keys, the register of secrets, logins on their way."""

    realms: dict[str, Realm]
    register: Register
    logins: Logins

    @property
    def base(self) -> str:
        """The issuer's base URL."""
        return self.realms["people"].issuer


async def form(request: Request) -> Form:
    """Return the urlencoded body as a dict; a repeated parameter is refused (RFC 6749 3.2)."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > BODY_LIMIT:
        raise OAuthError("invalid_request", "the body is too long or has no length", 413)
    return _once(parse_qsl((await request.body()).decode("utf-8", "replace"), True))


def query(request: Request) -> Form:
    """Return the query as a dict; a repeated parameter is refused (RFC 6749 3.1)."""
    return _once(request.query_params.multi_items())


def _once(pairs: list[tuple[str, str]]) -> Form:
    if len({name for name, _ in pairs}) != len(pairs):
        raise OAuthError("invalid_request", "a parameter is repeated")
    return dict(pairs)


def make_app(issuer: Issuer) -> FastAPI:
    """Return the ASGI application of `issuer`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.exception_handler(OAuthError)
    def refused(_: Request, error: OAuthError) -> JSONResponse:
        body = {"error": error.code, "error_description": error.description}
        return JSONResponse(body, error.status, _NO_STORE)

    _add_discovery(app, issuer)
    _add_code_flow(app, issuer)
    _add_device_flow(app, issuer)
    _add_token(app, issuer)
    add_platforms(app, issuer.realms, issuer.register)
    return app


def _add_discovery(app: FastAPI, issuer: Issuer) -> None:
    base = issuer.base
    people = {
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "device_authorization_endpoint": f"{base}/device_authorization",
        "grant_types_supported": ["authorization_code", DEVICE_GRANT],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": True,
        "scopes_supported": ["openid", "email", "profile", "groups"],
    }
    for name, realm in issuer.realms.items():
        prefix = realm.issuer.removeprefix(base)
        document = _document(realm) | (people if name == "people" else {})
        app.get(f"{prefix}/.well-known/openid-configuration")(_constant(document))
        app.get(f"{prefix}/.well-known/jwks")(_constant(realm.jwks()))
    app.get("/healthz")(_constant({"status": "ok"}))


def _document(realm: Realm) -> dict[str, Any]:
    return {
        "issuer": realm.issuer,
        "jwks_uri": f"{realm.issuer}/.well-known/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(realm.keys),
    }


def _constant(value: dict[str, Any]) -> Callable[[], JSONResponse]:
    return lambda: JSONResponse(value)


def _add_code_flow(app: FastAPI, issuer: Issuer) -> None:
    @app.get("/authorize")
    def authorize(asked: Annotated[Form, Depends(query)]) -> Response:
        _check_client(asked)
        problem = _problem_with(asked)
        if problem is not None:
            return _redirect(issuer, asked, error=problem[0], error_description=problem[1])
        return pages.login_page(_carried(asked))

    @app.post("/authorize")
    def log_in(sent: Annotated[Form, Depends(form)]) -> Response:
        _check_client(sent)
        person = issuer.register.person(sent.get("person", ""), sent.get("password", ""))
        if person is None:
            return pages.login_page(_carried(sent), problem="Wrong password.")
        login = Login(person, int(time.time()), CLIENT_ID, sent.get("nonce"))
        code = issuer.logins.new_code(
            login,
            sent["redirect_uri"],
            sent.get("code_challenge", ""),
            time.monotonic(),
        )
        return _redirect(issuer, sent, code=code)


def _carried(asked: Form) -> Form:
    return {name: asked[name] for name in _CARRIED if name in asked}


def _check_client(asked: Form) -> None:
    """Refuse, without redirecting, an unknown client or a redirect that is not loopback."""
    where = urlsplit(asked.get("redirect_uri", ""))
    loopback = where.scheme == "http" and where.hostname in (
        "127.0.0.1",
        "::1",
        "localhost",
    )
    if asked.get("client_id") != CLIENT_ID:
        raise OAuthError("invalid_client", "unknown client", 401)
    if not loopback or where.fragment or where.username is not None:
        raise OAuthError("invalid_request", "redirect_uri must be a loopback address")


def _problem_with(asked: Form) -> tuple[str, str] | None:
    if asked.get("response_type") != "code":
        return "unsupported_response_type", "only code"
    if "openid" not in asked.get("scope", "").split():
        return "invalid_scope", "scope must include openid"
    if len(asked.get("code_challenge", "")) != 43 or asked.get("code_challenge_method") != "S256":
        return "invalid_request", "PKCE with S256 is required"
    if not asked.get("nonce"):
        return "invalid_request", "nonce is required"
    if asked.get("prompt") == "none":
        return "login_required", "there are no sessions here"
    return None


def _redirect(issuer: Issuer, asked: Form, **values: str) -> RedirectResponse:
    answer = values | {"iss": issuer.base}
    if "state" in asked:
        answer["state"] = asked["state"]
    separator = "&" if urlsplit(asked["redirect_uri"]).query else "?"
    url = f"{asked['redirect_uri']}{separator}{urlencode(answer)}"
    return RedirectResponse(url, 303, _NO_STORE)


def _add_device_flow(app: FastAPI, issuer: Issuer) -> None:
    @app.post("/device_authorization")
    def begin(sent: Annotated[Form, Depends(form)]) -> Response:
        if sent.get("client_id") != CLIENT_ID:
            raise OAuthError("invalid_client", "unknown client", 401)
        device_code, user_code = issuer.logins.new_device(
            CLIENT_ID, sent.get("nonce"), time.monotonic()
        )
        where = f"{issuer.base}/device"
        body = {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": where,
            "verification_uri_complete": f"{where}?{urlencode({'user_code': user_code})}",
            "expires_in": int(DEVICE_LIFE),
            "interval": int(INTERVAL),
        }
        return JSONResponse(body, headers=_NO_STORE)

    @app.get("/device")
    def show(asked: Annotated[Form, Depends(query)]) -> Response:
        return pages.device_page(asked.get("user_code", ""))

    @app.post("/device")
    def answer(sent: Annotated[Form, Depends(form)]) -> Response:
        user_code = sent.get("user_code", "")
        device = issuer.logins.device_by_user_code(user_code, time.monotonic())
        if device is None:
            return pages.device_page("", problem="No terminal waits with that code.")
        person = issuer.register.person(sent.get("person", ""), sent.get("password", ""))
        if person is None:
            issuer.logins.wrong_password(device)
            return pages.device_page(user_code, problem="Wrong password.")
        if sent.get("answer") != "allow":
            issuer.logins.settle(device, None)
            return pages.page("Denied", "<p>The terminal was not connected.</p>")
        login = Login(person, int(time.time()), device.client_id, device.nonce)
        issuer.logins.settle(device, login)
        return pages.page("Allowed", "<p>You may close this page.</p>")


def _add_token(app: FastAPI, issuer: Issuer) -> None:
    @app.post("/token")
    def token(sent: Annotated[Form, Depends(form)]) -> Response:
        if sent.get("client_id") != CLIENT_ID:
            raise OAuthError("invalid_client", "unknown client", 401)
        now = time.monotonic()
        if sent.get("grant_type") == "authorization_code":
            where = (CLIENT_ID, sent.get("redirect_uri", ""))
            code, verifier = sent.get("code", ""), sent.get("code_verifier", "")
            login = issuer.logins.redeem_code(code, verifier, where, now)
        elif sent.get("grant_type") == DEVICE_GRANT:
            login = issuer.logins.poll(sent.get("device_code", ""), CLIENT_ID, now)
        else:
            raise OAuthError("unsupported_grant_type", "code or device code only")
        return JSONResponse(_tokens(issuer.realms["people"], login), headers=_NO_STORE)


def _tokens(realm: Realm, login: Login) -> dict[str, Any]:
    person = login.person
    claims: dict[str, Any] = {
        "sub": person.login,
        "aud": login.client_id,
        "auth_time": login.auth_time,
        "email": person.email,
        "email_verified": True,
        "name": person.name,
        "preferred_username": person.login,
        "groups": list(person.groups),
    }
    if login.nonce is not None:
        claims["nonce"] = login.nonce
    id_token = realm.sign(claims, life=ID_TOKEN_LIFE)
    # Nothing here accepts an access token; OpenID Connect Core 3.1.3.3 wants one in the answer.
    access_token = realm.sign({"sub": person.login, "aud": f"{realm.issuer}/none"}, life=1)
    return {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": 1,
        "id_token": id_token,
    }
