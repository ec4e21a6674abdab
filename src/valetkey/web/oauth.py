"""`/oauth2/*` and its metadata: forms in, words of RFC 6749 out; the verifying is identity's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from valetkey.core.backchannel import CIBA, BackchannelAsk
from valetkey.core.errors import (
    BrokerError,
    InvalidRequest,
    NotFound,
    NotReady,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)
from valetkey.core.peer import Peer
from valetkey.core.principal import Caller
from valetkey.core.trust import ResourceServer
from valetkey.flows.revoke_token import revoke_token
from valetkey.web.api.oauth_answers import BackchannelAnswer, OAuthError, Revoked, TokenAnswer
from valetkey.web.api.shapes import revoked
from valetkey.web.auth import called, shown_by, source
from valetkey.web.backchannel import begun, polled
from valetkey.web.bodies import of_media, raw_body
from valetkey.web.desk import At, Desk
from valetkey.web.doors import RESOURCE_METADATA

Answered = TypeVar("Answered")
router = APIRouter(tags=["oauth2"])

FORM = ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded;charset=utf-8")
MOST_FIELDS = 32
OURS = (NotReady, StoreUnavailable, RateLimited)
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": OAuthError, "description": "Refused (RFC 6749 section 5.2)."},
    401: {"model": OAuthError, "description": "The client did not prove itself."},
    503: {"model": OAuthError, "description": "Not now; see Retry-After."},
    "4XX": {"model": OAuthError, "description": "Refused; `code` says what to do differently."},
    "5XX": {"model": OAuthError, "description": "The fault is ours."},
}


def _takes_form(*needed: str) -> dict[str, Any]:
    """A form of texts with these fields, for the OpenAPI document."""
    fields = {
        "type": "object",
        "required": list(needed),
        "properties": {name: {"type": "string", "minLength": 1} for name in needed},
        "additionalProperties": {"type": "string"},
    }
    return {"requestBody": {"required": True, "content": {FORM[0]: {"schema": fields}}}}


@router.post(
    "/oauth2/token",
    responses={200: {"model": TokenAnswer}, **_REFUSED},
    openapi_extra=_takes_form("grant_type"),
)
def token(sent: Request, desk: At) -> JSONResponse:
    """Give our own token for a platform's proof, a person's login, an own key or a people's yes."""
    fields = _counted(sent, desk, lambda: form(sent))
    if fields.get("grant_type") == CIBA:
        return JSONResponse(dict(_polled(sent, desk, fields)))

    def exchange() -> Mapping[str, object]:
        if "authorization" in sent.headers:
            secret = Unauthenticated("clients prove themselves in the form; no secret is accepted")
            secret.extra["oauth_error"] = "invalid_client"
            raise secret
        dpop = sent.headers.getlist("dpop")
        return desk.authenticator.exchange(fields, dpop, called(sent, desk), shown_by(sent))

    return JSONResponse(dict(_counted(sent, desk, exchange)))


@router.post(
    "/oauth2/bc-authorize",
    responses={200: {"model": BackchannelAnswer}, **_REFUSED},
    openapi_extra=_takes_form("authorization_details"),
)
def bc_authorize(sent: Request, desk: At) -> JSONResponse:
    """Ask in the back channel (CIBA, poll mode): people decide, and a token is polled for."""

    def read() -> BackchannelAsk:
        fields = form(sent)
        return desk.authenticator.backchannel_ask(fields, *_shown(sent, desk))

    asked = _counted(sent, desk, read)
    sent.state.caller = asked.caller
    return JSONResponse(begun(desk, asked))


@router.post(
    "/oauth2/introspect",
    responses=_REFUSED,
    openapi_extra=_takes_form("client_assertion_type", "client_assertion", "token"),
)
def introspect(sent: Request, desk: At) -> JSONResponse:
    """Tell a registered resource server whether a token is active (RFC 7662)."""
    answer = _counted(sent, desk, lambda: desk.authenticator.introspect(form(sent)))
    return JSONResponse(dict(answer))


@router.post(
    "/oauth2/revoke",
    responses={200: {"model": Revoked}, **_REFUSED},
    openapi_extra=_takes_form("token"),
)
def revoke(sent: Request, desk: At) -> JSONResponse:
    """Refuse a token of ours from now on, or start to end the credential it is (RFC 7009)."""
    fields = form(sent)
    by = _revoker(sent, desk, fields)
    if "token" not in fields:
        raise InvalidRequest("token is missing")
    named = desk.authenticator.our_token(fields["token"])
    try:
        lease = None if named is None else revoke_token(desk.broker, by, named)
    except NotFound as anothers:
        anothers.extra["oauth_error"] = "invalid_grant"
        raise
    return JSONResponse(revoked(lease))


@router.get("/oauth2/jwks")
async def jwks(desk: At) -> JSONResponse:
    """Our public keys (RFC 7517)."""
    return JSONResponse(dict(desk.authenticator.jwks()))


@router.get("/.well-known/openid-configuration")
@router.get("/.well-known/oauth-authorization-server")
async def metadata(desk: At) -> JSONResponse:
    """Where everything is (RFC 8414), and where people log in."""
    login = {"issuer": desk.doors.login_issuer, "client_id": desk.doors.login_client_id}
    return JSONResponse({**desk.authenticator.metadata(), "valetkey_login": login})


@router.get(RESOURCE_METADATA)
async def resource_metadata(desk: At) -> JSONResponse:
    """Whose tokens `/v1` takes (RFC 9728); every 401 points here."""
    return JSONResponse(dict(desk.authenticator.resource_metadata()))


def form(sent: Request) -> dict[str, str]:
    """The form that was sent, each name once (RFC 6749 section 3.2), empty values left out.

    Raises InvalidRequest, UnsupportedMedia or BodyTooLarge.
    """
    raw = raw_body(sent)
    of_media(sent, FORM)
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise InvalidRequest("the body is not a form") from None
    read = dict(pairs)
    if len(read) != len(pairs):
        raise InvalidRequest("a parameter is given twice")
    return {name: value for name, value in read.items() if value}


def _revoker(sent: Request, desk: Desk, fields: Mapping[str, str]) -> Caller | ResourceServer:
    """Who wants to revoke; a caller that is refused later is refused on record."""

    def prove() -> Caller | ResourceServer:
        return desk.authenticator.revoker(fields, *_shown(sent, desk))

    by = _counted(sent, desk, prove)
    if isinstance(by, Caller):
        sent.state.caller = by
    return by


def _polled(sent: Request, desk: Desk, fields: Mapping[str, str]) -> Mapping[str, object]:
    """The CIBA grant; a caller that is refused after it proved itself is refused on record."""

    def prove() -> Caller:
        if "auth_req_id" not in fields:
            raise InvalidRequest("auth_req_id is missing")
        return desk.authenticator.asker(fields, *_shown(sent, desk))

    sent.state.caller = _counted(sent, desk, prove)
    return polled(desk, sent.state.caller, fields["auth_req_id"])


def _shown(sent: Request, desk: Desk) -> tuple[list[str], list[str], str, Peer]:
    """What a client proves itself with beside its form, and the address it does so at."""
    headers = sent.headers.getlist("authorization"), sent.headers.getlist("dpop")
    return *headers, called(sent, desk), shown_by(sent)


def _counted(sent: Request, desk: Desk, ask: Callable[[], Answered]) -> Answered:
    """Run it; a refusal counts as knocking, unless the fault is ours."""
    try:
        return ask()
    except OURS:
        raise
    except BrokerError as refused:
        issuer = refused.extra.get("issuer", "unknown")
        desk.knocks.knocked(source(sent), refused, issuer)
        raise
