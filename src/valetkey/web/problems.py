"""Refusals as HTTP: one table from error class to status, one shape (RFC 9457), one fact each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from valetkey.core import errors
from valetkey.core.errors import BrokerError
from valetkey.core.principal import Caller
from valetkey.flows.recording import record_refusal
from valetkey.web.desk import Desk
from valetkey.web.doors import RESOURCE_METADATA

STATUS: Final[Mapping[type[BrokerError], int]] = {
    errors.BrokerError: 500,
    errors.Unauthenticated: 401,
    errors.UntrustedIssuer: 401,
    errors.TokenExpired: 401,
    errors.ClockSkew: 401,
    errors.ProofReplayed: 401,
    errors.InvalidDpopProof: 401,
    errors.KeyMismatch: 401,
    errors.UseDpopNonce: 401,
    errors.UnknownAgent: 401,
    errors.FreshLoginRequired: 401,
    errors.WrongDoor: 403,
    errors.RoleRequired: 403,
    errors.AgentNotAccepted: 403,
    errors.AgentDisabled: 403,
    errors.DeniedByPolicy: 403,
    errors.PolicyBroken: 403,
    errors.DeniedByPerson: 403,
    errors.ApprovalTimedOut: 410,
    errors.ApprovalVoid: 409,
    errors.ApproverNotEligible: 403,
    errors.OutsideToken: 403,
    errors.OutsideTask: 403,
    errors.OutsideBoundary: 403,
    errors.DelegationRefused: 403,
    errors.OutsideDelegation: 403,
    errors.OutsideTrustRule: 403,
    errors.Killed: 403,
    errors.NotFound: 404,
    errors.TaskEnded: 409,
    errors.DelegationEnded: 409,
    errors.StaleHeartbeat: 409,
    errors.BudgetSpent: 409,
    errors.InProgress: 409,
    errors.AlreadyDelivered: 409,
    errors.RedeliveryRefused: 409,
    errors.IdempotencyMismatch: 409,
    errors.AlreadyDecided: 409,
    errors.StillWaiting: 409,
    errors.LeaseEnded: 409,
    errors.SealingFailed: 500,
    errors.NotRenewable: 409,
    errors.NotStuck: 409,
    errors.NameTaken: 409,
    errors.ChangedMeanwhile: 412,
    errors.BindingTaken: 409,
    errors.RulesFromFiles: 409,
    errors.RulesNotProven: 409,
    errors.InvalidRequest: 422,
    errors.BodyTooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.UnknownScope: 422,
    errors.InvalidParameter: 422,
    errors.RulesInvalid: 422,
    errors.InvalidTtl: 422,
    errors.SealingRequired: 422,
    errors.TrustRuleTooWide: 422,
    errors.RateLimited: 429,
    errors.MinterRefused: 502,
    errors.MinterUnavailable: 503,
    errors.MintedTooLong: 502,
    errors.OutcomeUnknown: 504,
    errors.StoreUnavailable: 503,
    errors.NotReady: 503,
}

USUAL_WAIT: Final = 5.0
DPOP_ALGORITHMS: Final = "ES256 EdDSA Ed25519"


def _status(error: BrokerError) -> int:
    """That of its class, or of the one in the catalogue that it is a kind of."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(
    error: BrokerError, status: int | None = None, more: Mapping[str, object] | None = None
) -> JSONResponse:
    """The answer for a refusal; nothing in it comes from the request's body."""
    status = status or _status(error)
    body: dict[str, object] = {
        **error.extra,
        **(more or {}),
        "type": f"urn:valetkey:problem:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code,
        "detail": error.detail,
        "next_action": error.next_action,
    }
    if (wait := _wait(error, status)) is not None:
        body["retry_after"] = wait
    if error.decision_id is not None:
        body["decision_id"] = error.decision_id
    media = "application/problem+json"
    return JSONResponse(body, status, headers=_headers(error, status), media_type=media)


def answer(scope: Mapping[str, Any], error: BrokerError, status: int | None = None) -> JSONResponse:
    """A refusal in the terms of its route: RFC 6749 below `/oauth2/`, a problem elsewhere."""
    if str(scope["path"]).startswith("/oauth2/"):
        tried = any(name == b"authorization" for name, _ in scope["headers"])
        told = oauth_error(error, status, challenged=tried)
    else:
        told = problem(error, status)
    if "WWW-Authenticate" in told.headers:
        desk: Desk = scope["app"].state.desk
        there = desk.doors.url_of(RESOURCE_METADATA)
        told.headers["WWW-Authenticate"] += f', resource_metadata="{there}"'
    return told


def oauth_error(
    error: BrokerError, status: int | None = None, *, challenged: bool = False
) -> JSONResponse:
    """RFC 6749 section 5.2, with our own code beside it; 401 only for `invalid_client`.

    `challenged` where the client tried a header to prove itself.
    """
    code = error.extra.get("oauth_error")
    ours = _status(error) >= 500 or isinstance(error, errors.RateLimited)
    if code is not None or isinstance(error, errors.InvalidRequest):
        status = status or (401 if code == "invalid_client" else 400)
    body = {
        "error": code or ("temporarily_unavailable" if ours else "invalid_request"),
        "error_description": error.detail,
        "code": error.code,
        "next_action": error.next_action,
    }
    status = status or _status(error)
    headers = _headers(error, status)
    if not challenged:
        headers.pop("WWW-Authenticate", None)
    return JSONResponse(body, status, headers=headers)


def refused(request: Request, error: BrokerError, status: int | None = None) -> JSONResponse:
    """Put a refusal on record, once, if we know who was refused; then answer it."""
    desk: Desk = request.app.state.desk
    told = on_record(desk, request.scope, error)
    return answer(request.scope, told, status if told is error else None)


def on_record(desk: Desk, scope: Mapping[str, Any], error: BrokerError) -> BrokerError:
    """Write the one fact of a refusal; the error to answer, another when it cannot be written.

    Only refusals of a known caller are facts. With the database away there is nothing to write
    to, and the answer says just that.
    """
    desk.metrics.refusals.labels(error.code).inc()
    caller: Caller | None = scope.get("state", {}).get("caller")
    if caller is None or isinstance(error, errors.StoreUnavailable):
        return error
    try:
        record_refusal(desk.broker, caller, error, about(scope))
    except errors.StoreUnavailable as away:
        return away
    return error


def about(scope: Mapping[str, Any]) -> str:
    """The method and the route's template, never the path that was sent."""
    return f"{scope['method']} {getattr(scope.get('route'), 'path', 'unknown')}"


def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """Every BrokerError that an endpoint raises."""
    assert isinstance(error, BrokerError)
    return refused(request, error)


def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """What FastAPI itself finds wrong; the value is not repeated."""
    assert isinstance(error, RequestValidationError)
    return refused(request, errors.InvalidRequest("a parameter is missing or not of its type"))


def on_http(request: Request, error: Exception) -> JSONResponse:
    """Unknown paths and methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return refused(request, errors.NotFound("There is no such route."))
    invalid = errors.InvalidRequest("This route does not take this method.")
    answer = refused(request, invalid, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _headers(error: BrokerError, status: int) -> dict[str, str]:
    headers = {}
    if (wait := _wait(error, status)) is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    if status == 401:
        headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, errors.UseDpopNonce):
        headers["DPoP-Nonce"] = error.nonce
    if status == 413:
        headers["Connection"] = "close"
    return headers


def _wait(error: BrokerError, status: int) -> float | None:
    """Seconds until trying again helps; what is only busy or away always has some."""
    if error.retry_after is None and status in {429, 503, 504}:
        return USUAL_WAIT
    return error.retry_after


def _challenge(error: BrokerError) -> str:
    """RFC 9449 section 7.1, and RFC 9470 for a login that is not fresh enough."""
    if isinstance(error, errors.FreshLoginRequired):
        return 'DPoP error="insufficient_user_authentication", max_age="300"'
    dpop = isinstance(error, (errors.InvalidDpopProof, errors.ProofReplayed))
    code = "invalid_dpop_proof" if dpop else "invalid_token"
    if isinstance(error, errors.UseDpopNonce):
        code = error.code
    return f'DPoP error="{code}", algs="{DPOP_ALGORITHMS}"'
