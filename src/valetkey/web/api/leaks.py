"""`/v1/leaks`: a leaked value in; the same answer whatever it was."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from valetkey.flows.look import SEES_ALL
from valetkey.flows.report_leak import report_leak
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import LeakAsk
from valetkey.web.auth import PacedAnybody, Room
from valetkey.web.bodies import reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes

router = APIRouter(prefix="/v1/leaks", tags=["leaks"])


@router.post(
    "", status_code=202, responses=responses(s202=answers.Leak), openapi_extra=takes(LeakAsk)
)
def report(
    caller: PacedAnybody, asked: Annotated[LeakAsk, Depends(reads(LeakAsk))], desk: At, room: Room
) -> JSONResponse:
    """Report a value that leaked: what it opens starts to end; operators hear where it is from."""
    found = report_leak(desk.broker, caller, asked.value)
    told: shapes.Json = {"status": "reported"}
    if caller.roles & SEES_ALL:
        told["found"] = [shapes.lineage(one) for one in found]
    return JSONResponse(told, 202)
