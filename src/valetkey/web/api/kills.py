"""`/v1/kill`: the kill switch, its progress, its release."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from valetkey.flows.drill_kill import drill_kill
from valetkey.flows.kill import kill, kill_now, kill_progress, kills_in_force, release_kill
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import KillAsk
from valetkey.web.auth import Person
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import path_id

router = APIRouter(prefix="/v1/kill", tags=["kill"])


@router.post(
    "",
    status_code=202,
    responses=responses(s200=answers.Drill, s202=answers.Kill),
    openapi_extra=takes(KillAsk),
)
def order(
    caller: Person, asked: Annotated[KillAsk, Depends(reads(KillAsk))], desk: At
) -> JSONResponse:
    """Stop everything at a height, now and until released, and work on it at once; or drill it."""
    if asked.drill:
        drilled = drill_kill(desk.broker, caller, asked.at(), asked.subject, asked.reason)
        return JSONResponse(shapes.drill(drilled))
    ordered = kill(desk.broker, caller, asked.at(), asked.subject, asked.reason)
    kill_now(desk.broker, ordered)
    return JSONResponse(shapes.kill(kill_progress(desk.broker, caller, ordered.id)), 202)


@router.get("", responses=responses(s200=answers.Kills))
def kills(caller: Person, desk: At) -> JSONResponse:
    """Every kill in force, newest first, and how far each is."""
    found = kills_in_force(desk.broker, caller)
    return JSONResponse({"items": [shapes.kill(one) for one in found]})


@router.get("/{kill_id}", responses=responses(s200=answers.Kill))
def progress(kill_id: str, caller: Person, desk: At) -> JSONResponse:
    """How far a kill is, when the last proof came, and what cannot be cut until when."""
    return JSONResponse(shapes.kill(kill_progress(desk.broker, caller, path_id("kill", kill_id))))


@router.post(
    "/{kill_id}/release", responses=responses(s200=answers.Kill), openapi_extra=takes(Nothing)
)
def release(
    kill_id: str, caller: Person, _: Annotated[Nothing, Depends(reads(Nothing))], desk: At
) -> JSONResponse:
    """Lift a kill: another operator than who ordered it, with a login fresh for it."""
    released = release_kill(desk.broker, caller, path_id("kill", kill_id))
    return JSONResponse(shapes.kill(kill_progress(desk.broker, caller, released.id)))
