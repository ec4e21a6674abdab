"""`/v1/proposals`: what jobs would widen about agents, and what people say to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from valetkey.core.proposal import OPEN
from valetkey.flows import proposals as decide
from valetkey.flows.differences import said
from valetkey.web.api import provisioning_answers as answers
from valetkey.web.api import shapes
from valetkey.web.api.asks import Verdict
from valetkey.web.auth import Person
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import path_id

router = APIRouter(prefix="/v1/proposals", tags=["proposals"])


@router.get("", responses=responses(s200=answers.Proposals))
def proposals(caller: Person, desk: At) -> JSONResponse:
    """The newest proposals for agents that the caller owns, or may see."""
    found = decide.proposals(desk.broker, caller)
    return JSONResponse({"items": [_shape(one) for one in found]})


@router.get("/{proposal_id}", responses=responses(s200=answers.Proposed))
def proposal(proposal_id: str, caller: Person, desk: At) -> JSONResponse:
    """One proposal, with what a login to accept it must be made for."""
    found = decide.proposal(desk.broker, caller, path_id("proposal", proposal_id))
    return JSONResponse(_shape(found))


@router.post(
    "/{proposal_id}/accept",
    responses=responses(s200=answers.Proposed),
    openapi_extra=takes(Verdict),
)
def accept(
    proposal_id: str,
    caller: Person,
    asked: Annotated[Verdict, Depends(reads(Verdict))],
    desk: At,
) -> JSONResponse:
    """Say yes to exactly what was shown, with a login fresh for it; the agent is so then."""
    rules, name = desk.doors.trust_rules, path_id("proposal", proposal_id)
    accepted = decide.accept_proposal(desk.broker, caller, rules, name, asked.shown_hash)
    return JSONResponse(_shape(accepted))


@router.post(
    "/{proposal_id}/refuse",
    responses=responses(s200=answers.Proposed),
    openapi_extra=takes(Nothing),
)
def refuse(
    proposal_id: str, caller: Person, _: Annotated[Nothing, Depends(reads(Nothing))], desk: At
) -> JSONResponse:
    """Say no; the same is not proposed again, and may still be accepted."""
    name = path_id("proposal", proposal_id)
    return JSONResponse(_shape(decide.refuse_proposal(desk.broker, caller, name)))


def _shape(seen: decide.SeenProposal) -> shapes.Json:
    one, agent = seen.proposal, seen.agent
    return {
        "id": one.id,
        "agent_id": agent.id,
        "agent": agent.name,
        "owner": one.owner,
        "was": [str(scope) for scope in (agent.boundary if one.was is None else one.was)],
        "boundary": [str(scope) for scope in one.boundary],
        "bindings": [said(issuer, claims) for issuer, claims in one.bindings],
        "rule": one.rule,
        "state": one.state.value,
        "current": seen.current,
        "created_by": one.created_by,
        "created_at": one.created_at.isoformat(),
        "decided_by": one.decided_by,
        "decided_at": one.decided_at.isoformat() if one.decided_at else None,
        "shown_hash": one.shown_hash,
        "fresh_for": decide.fresh_name(one) if one.state in OPEN else None,
    }
