"""`/v1/leases`: look, renew, acknowledge, revoke, write off, and the lineage of one lease."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.core.errors import InvalidRequest
from valetkey.flows import acknowledge as acknowledgement
from valetkey.flows import look, on_behalf
from valetkey.flows import renew as renewal
from valetkey.flows import write_off as writing_off
from valetkey.flows.fetch_sealed import fetch_sealed
from valetkey.flows.revoke import revoke_lease
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import WriteOffAsk
from valetkey.web.auth import Agent, AgentOrPerson, PacedAgent, Person, Room
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import AGENT, EMAIL, PERSON, Filters, path_id

router = APIRouter(prefix="/v1/leases", tags=["leases"])

FILTERS = Filters(
    {"state": "[a-z]{1,20}", "agent": AGENT, "owner": EMAIL, "on_behalf_of": PERSON}
)


@router.get("", responses=responses(s200=answers.Leases), openapi_extra=takes(filters=FILTERS))
def leases(sent: Request, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """The newest leases the caller may see, of a state, an agent, an owner, or for a person."""
    wanted = FILTERS.read(sent)
    person, state, agent = (wanted.get(name) for name in ("on_behalf_of", "state", "agent"))
    if person is None:
        found = look.leases(desk.broker, caller, state, agent, wanted.get("owner"))
    elif agent or "owner" in wanted:
        raise InvalidRequest("on_behalf_of goes with state alone")
    else:
        found = on_behalf.leases_for(desk.broker, caller, person, state)
    return JSONResponse({"items": [shapes.lease(one) for one in found]})


@router.get("/{lease_id}", responses=responses(s200=answers.Lease))
def lease(lease_id: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """One lease."""
    return JSONResponse(shapes.lease(look.lease(desk.broker, caller, path_id("lease", lease_id))))


@router.get("/{lease_id}/lineage", responses=responses(s200=answers.Lineage))
def lineage(lease_id: str, caller: Person, desk: At) -> JSONResponse:
    """Who, for whom, which task, which rule, who approved, which proof."""
    found = look.lineage(desk.broker, caller, path_id("lease", lease_id))
    return JSONResponse(shapes.lineage(found))


@router.post(
    "/{lease_id}/revoke",
    status_code=202,
    responses=responses(s202=answers.Lease),
    openapi_extra=takes(Nothing),
)
def revoke(
    lease_id: str, caller: AgentOrPerson, _: Annotated[Nothing, Depends(reads(Nothing))], desk: At
) -> JSONResponse:
    """Start ending a lease; doing it twice is fine."""
    ending = revoke_lease(desk.broker, caller, path_id("lease", lease_id))
    return JSONResponse(shapes.lease(ending), 202)


@router.post(
    "/{lease_id}/renew", responses=responses(s200=answers.Lease), openapi_extra=takes(Nothing)
)
def renew(
    lease_id: str,
    caller: PacedAgent,
    _: Annotated[Nothing, Depends(reads(Nothing))],
    desk: At,
    room: Room,
) -> JSONResponse:
    """Let the same credential live for another TTL, before `renew_by`."""
    renewed = renewal.renew(desk.broker, caller, path_id("lease", lease_id))
    return JSONResponse(shapes.lease(renewed))


@router.post(
    "/{lease_id}/ack", responses=responses(s200=answers.Lease), openapi_extra=takes(Nothing)
)
def acknowledge(
    lease_id: str, caller: Agent, _: Annotated[Nothing, Depends(reads(Nothing))], desk: At
) -> JSONResponse:
    """Say that the credential came; the lease as it is, also when that comes too late."""
    noted = acknowledgement.acknowledge(desk.broker, caller, path_id("lease", lease_id))
    return JSONResponse(shapes.lease(noted))


@router.get("/{lease_id}/sealed", responses=responses(s200=answers.Sealed))
def sealed(lease_id: str, caller: PacedAgent, desk: At) -> JSONResponse:
    """The sealed answer again, for the key that asked, for two minutes and while it is active."""
    return JSONResponse(
        shapes.sealed(fetch_sealed(desk.broker, caller, path_id("lease", lease_id)))
    )


@router.post(
    "/{lease_id}/write-off",
    responses=responses(s200=answers.Lease),
    openapi_extra=takes(WriteOffAsk),
)
def write_off(
    lease_id: str,
    caller: Person,
    asked: Annotated[WriteOffAsk, Depends(reads(WriteOffAsk))],
    desk: At,
) -> JSONResponse:
    """Give up a stuck lease: an operator, by name, with a reason and a login fresh for it."""
    gone = writing_off.write_off(desk.broker, caller, path_id("lease", lease_id), asked.reason)
    return JSONResponse(shapes.lease(gone))
