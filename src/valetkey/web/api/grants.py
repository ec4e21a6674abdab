"""`/v1/grants`: look, collect, approve, deny, withdraw."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.core.errors import StillWaiting
from valetkey.core.grant import Grant
from valetkey.flows import approve as verdicts
from valetkey.flows import look
from valetkey.flows.collect import collect
from valetkey.flows.verdicts import Waiting
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import Verdict
from valetkey.web.api.credentials import handed_over, redelivers
from valetkey.web.auth import Agent, AgentOrPerson, PacedAgent, Person, Room
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At, Desk
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import Filters, id_form, path_id

router = APIRouter(prefix="/v1/grants", tags=["grants"])

FILTERS = Filters({"state": "[a-z_]{1,20}", "task": id_form("task")})
NoBody = Annotated[Nothing, Depends(reads(Nothing))]


@router.get("", responses=responses(s200=answers.Grants), openapi_extra=takes(filters=FILTERS))
def grants(sent: Request, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """The newest grants the caller may see, of a state, of a task."""
    wanted = FILTERS.read(sent)
    found = look.grants(desk.broker, caller, wanted.get("state"), wanted.get("task"))
    return JSONResponse({"items": [shapes.grant(one) for one in found]})


@router.get("/{grant_id}", responses=responses(s200=answers.Grant))
def grant(grant_id: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """One grant, with what people are shown and what a login to approve it must be made for."""
    return JSONResponse(shapes.grant(look.grant(desk.broker, caller, path_id("grant", grant_id))))


@router.post(
    "/{grant_id}/collect",
    status_code=201,
    responses=responses(s201=answers.HandedOver, s202=answers.Waiting),
    openapi_extra=takes(Nothing, headers={"Redeliver": False}),
)
def collected(
    sent: Request, grant_id: str, caller: PacedAgent, _: NoBody, desk: At, room: Room
) -> JSONResponse:
    """Collect what was approved; 202 while it still waits."""
    grant_id, lost = path_id("grant", grant_id), redelivers(sent)
    try:
        return handed_over(collect(desk.broker, caller, grant_id, lost))
    except StillWaiting:
        return handed_over(Waiting(look.grant(desk.broker, caller, grant_id).grant))


@router.post(
    "/{grant_id}/approve", responses=responses(s200=answers.Grant), openapi_extra=takes(Verdict)
)
def approve(
    grant_id: str, caller: Person, verdict: Annotated[Verdict, Depends(reads(Verdict))], desk: At
) -> JSONResponse:
    """Say yes to exactly what was shown, with a login fresh for this grant."""
    grant_id = path_id("grant", grant_id)
    return _decided(desk, verdicts.approve(desk.broker, caller, grant_id, verdict.shown_hash))


@router.post(
    "/{grant_id}/deny", responses=responses(s200=answers.Grant), openapi_extra=takes(Nothing)
)
def deny(grant_id: str, caller: Person, _: NoBody, desk: At) -> JSONResponse:
    """Say no."""
    return _decided(desk, verdicts.deny(desk.broker, caller, path_id("grant", grant_id)))


@router.post(
    "/{grant_id}/withdraw", responses=responses(s200=answers.Grant), openapi_extra=takes(Nothing)
)
def withdraw(grant_id: str, caller: Agent, _: NoBody, desk: At) -> JSONResponse:
    """Take back one's own waiting ask."""
    return _decided(desk, verdicts.withdraw(desk.broker, caller, path_id("grant", grant_id)))


def _decided(desk: Desk, decided: Grant) -> JSONResponse:
    return JSONResponse(shapes.grant(look.with_approvals(desk.broker, decided)))
