"""`/v1/history`: facts, newest first, paged by their number."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from valetkey.core.errors import InvalidRequest
from valetkey.core.facts import HistoryQuery
from valetkey.flows import look
from valetkey.web.api import answers, shapes
from valetkey.web.auth import Person
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import (
    AGENT,
    EMAIL,
    INSTANT,
    NAME,
    NUMBER,
    WORD,
    Filters,
    id_form,
    instant,
)

router = APIRouter(prefix="/v1/history", tags=["history"])

MOST = 500
FILTERS = Filters(
    {
        "agent": AGENT,
        "owner": EMAIL,
        "task": id_form("task"),
        "grant": id_form("grant"),
        "lease": id_form("lease"),
        "target": NAME,
        "outcome": WORD,
        "kind": WORD,
        "since": INSTANT,
        "until": INSTANT,
        "cursor": NUMBER,
        "limit": NUMBER,
    }
)


@router.get("", responses=responses(s200=answers.History), openapi_extra=takes(filters=FILTERS))
def history(sent: Request, caller: Person, desk: At) -> JSONResponse:
    """Facts by agent, owner, task, grant, lease, target, time, outcome and kind."""
    query = _query(FILTERS.read(sent))
    found = look.history(desk.broker, caller, query)
    more = str(found[-1].number) if len(found) == query.limit else None
    return JSONResponse({"items": [shapes.fact(entry) for entry in found], "next": more})


def _query(wanted: dict[str, str]) -> HistoryQuery:
    limit = int(wanted.get("limit", "100"))
    if limit > MOST:
        raise InvalidRequest(f"limit is at most {MOST}")
    return HistoryQuery(
        agent_id=wanted.get("agent"),
        owner=wanted.get("owner"),
        task_id=wanted.get("task"),
        grant_id=wanted.get("grant"),
        lease_id=wanted.get("lease"),
        target=wanted.get("target"),
        outcome=wanted.get("outcome"),
        kind=wanted.get("kind"),
        since=instant("since", wanted.get("since")),
        until=instant("until", wanted.get("until")),
        before=int(wanted["cursor"]) if "cursor" in wanted else None,
        limit=limit,
    )
