"""`/v1/delegations`: people let agents act for them, see who does, and take it back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from valetkey.flows import on_behalf
from valetkey.web.api import delegation_answers as answers
from valetkey.web.api.asks import DelegationAsk
from valetkey.web.auth import AgentOrPerson, Person, Room
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import path_id

router = APIRouter(prefix="/v1/delegations", tags=["delegations"])


@router.post(
    "",
    status_code=201,
    responses=responses(s201=answers.Delegation),
    openapi_extra=takes(DelegationAsk),
)
def give(
    caller: Person, asked: Annotated[DelegationAsk, Depends(reads(DelegationAsk))], desk: At
) -> JSONResponse:
    """Let an agent act for the caller, with a login fresh for exactly this."""
    scopes, lasts = asked.wanted(), asked.lasts()
    given = on_behalf.give_delegation(desk.broker, caller, asked.agent, scopes, lasts)
    return JSONResponse(answers.told(given), 201)


@router.get("", responses=responses(s200=answers.Delegations))
def delegations(caller: AgentOrPerson, desk: At) -> JSONResponse:
    """The newest delegations: one's own, those given to the calling agent, or all."""
    found = on_behalf.delegations(desk.broker, caller)
    return JSONResponse({"items": [answers.told(one) for one in found]})


@router.get("/{delegation_id}", responses=responses(s200=answers.Delegation))
def delegation(delegation_id: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """One delegation."""
    name = path_id("delegation", delegation_id)
    return JSONResponse(answers.told(on_behalf.delegation(desk.broker, caller, name)))


@router.post(
    "/{delegation_id}/withdraw",
    responses=responses(s200=answers.Delegation),
    openapi_extra=takes(Nothing),
)
def withdraw(
    delegation_id: str,
    caller: Person,
    _: Annotated[Nothing, Depends(reads(Nothing))],
    desk: At,
    room: Room,
) -> JSONResponse:
    """Take a delegation back: every task that rests on it ends, with all below it."""
    name = path_id("delegation", delegation_id)
    return JSONResponse(answers.told(on_behalf.withdraw_delegation(desk.broker, caller, name)))
