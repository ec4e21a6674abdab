"""`/v1/catalogue`: what may be asked for."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from valetkey.flows import look
from valetkey.web.api import answers, shapes
from valetkey.web.auth import AgentOrPerson
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses

router = APIRouter(prefix="/v1/catalogue", tags=["catalogue"])


@router.get("", responses=responses(s200=answers.Catalogue))
def catalogue(caller: AgentOrPerson, desk: At) -> JSONResponse:
    """Targets and scopes; for an agent only what its boundary reaches."""
    digest, offered = look.offers(desk.broker, caller)
    return JSONResponse(shapes.catalogue(desk.broker, digest, offered))
