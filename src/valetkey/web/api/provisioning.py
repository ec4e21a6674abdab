"""`/v1/provisioning` and `PUT /v1/agents/{name}`: agents made equal to reviewed files by a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.core.proposal import Proposal, ProposalState
from valetkey.flows import look
from valetkey.flows.provision import Planned, Wish, plan_agents, provision_agent
from valetkey.web.api import provisioning_answers as answers
from valetkey.web.api import shapes
from valetkey.web.api.asks import AgentAsk, PlanAsk
from valetkey.web.auth import CI
from valetkey.web.bodies import reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import Filters, if_match, path_agent

router = APIRouter(tags=["provisioning"])
FILTERS = Filters({"prune": "true|false"})


@router.post(
    "/v1/provisioning/plan",
    responses=responses(s200=answers.AgentsPlan),
    openapi_extra=takes(PlanAsk),
)
def plan(caller: CI, asked: Annotated[PlanAsk, Depends(reads(PlanAsk))], desk: At) -> JSONResponse:
    """What would change about the agents of the job's rule, with all that stands against it."""
    found = plan_agents(desk.broker, caller, desk.rule_of(caller), asked.value())
    return JSONResponse(
        {
            "rule": caller.rule,
            "agents": [_planned(one) for one in found.agents],
            "others": [{"name": one.name, "digest": one.digest} for one in found.others],
        }
    )


@router.put(
    "/v1/agents/{name}",
    responses=responses(s200=answers.Provisioned, s202=answers.Provisioned),
    openapi_extra=takes(AgentAsk, filters=FILTERS, headers={"If-Match": True}),
)
def provision(
    name: str,
    caller: CI,
    asked: Annotated[AgentAsk, Depends(reads(AgentAsk))],
    desk: At,
    request: Request,
) -> JSONResponse:
    """Make an agent of the job's rule equal to the body; 202 when a part waits for a person."""
    prune = FILTERS.read(request).get("prune") == "true"
    seen = if_match(request, required=True) or ""
    wish = Wish(asked.value(), seen, prune)
    done = provision_agent(desk.broker, caller, desk.rule_of(caller), path_agent(name), wish)
    shown = shapes.agent(look.with_bindings(desk.broker, done.agent))
    body = {"agent": shown, **_waiting(done.proposal)}
    return JSONResponse(body, 202 if done.proposal else 200)


def _planned(one: Planned) -> shapes.Json:
    return {
        "name": one.name,
        "digest": one.digest,
        "changes": [dict(vars(change)) for change in one.changes],
        "problems": [
            {
                "part": wrong.part,
                "code": wrong.error.code,
                "detail": wrong.error.detail,
                "next_action": wrong.error.next_action,
            }
            for wrong in one.wrong
        ],
        **_waiting(one.proposal),
    }


def _waiting(proposal: Proposal | None) -> shapes.Json:
    refused = proposal is not None and proposal.state is ProposalState.REFUSED
    return {"proposal": proposal.id if proposal else None, "refused": refused}
