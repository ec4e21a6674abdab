"""`/v1/credentials`: ask for a credential, or only for the decision."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.flows.explain import explain
from valetkey.flows.look import SeenGrant
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Answer, Sealed, Waiting
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import CredentialAsk, ExplainAsk
from valetkey.web.auth import PacedAgent, Room
from valetkey.web.bodies import reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import header, id_form

router = APIRouter(prefix="/v1/credentials", tags=["credentials"])

KEY_FORM = r"[A-Za-z0-9._:/+=-]{1,128}"
POLL_AFTER = "2"


@router.post(
    "",
    status_code=201,
    responses=responses(s201=answers.HandedOver, s202=answers.Waiting),
    openapi_extra=takes(CredentialAsk, headers={"Idempotency-Key": True, "Redeliver": False}),
)
def request(
    sent: Request,
    caller: PacedAgent,
    asked: Annotated[CredentialAsk, Depends(reads(CredentialAsk))],
    desk: At,
    room: Room,
) -> JSONResponse:
    """Ask: 201 with the credential, once; 202 when people decide first."""
    key = header(sent, "Idempotency-Key", KEY_FORM, required=True) or ""
    ask, lost = asked.value(key), redelivers(sent)
    with desk.metrics.counting_denials():
        given = request_credential(desk.broker, caller, ask, lost)
    outcome = "needs_approval" if isinstance(given, Waiting) else "allow"
    desk.metrics.decisions.labels(outcome).inc()
    return handed_over(given)


@router.post(
    "/explain", responses=responses(s200=answers.Explanation), openapi_extra=takes(ExplainAsk)
)
def explained(
    caller: PacedAgent, asked: Annotated[ExplainAsk, Depends(reads(ExplainAsk))], desk: At
) -> JSONResponse:
    """The decision a request would get now; nothing is minted or written."""
    ask = asked.value()
    return JSONResponse(shapes.explanation(explain(desk.broker, caller, ask), ask.ttl))


def handed_over(given: Answer) -> JSONResponse:
    """The one answer in which a secret stands, unless it is sealed."""
    if isinstance(given, Waiting):
        grant = shapes.grant(SeenGrant(given.grant, ()))
        return JSONResponse({"grant": grant}, 202, headers={"Retry-After": POLL_AFTER})
    if isinstance(given, Sealed):
        return JSONResponse(shapes.sealed(given), 201)
    told = {"lease": shapes.lease(given.lease), "credential": given.secret.reveal()}
    return JSONResponse(told, 201)


def redelivers(sent: Request) -> str | None:
    """The lease whose answer was lost, by its header; raises InvalidRequest."""
    return header(sent, "Redeliver", id_form("lease"))
