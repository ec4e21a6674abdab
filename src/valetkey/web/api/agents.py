"""`/v1/agents`: provision, look, change, bind, accept, disable."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.core.agent import Agent
from valetkey.flows import agents as life
from valetkey.flows import look
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import AgentAsk, AgentChange, BindingAsk
from valetkey.web.auth import CI, AgentOrPerson, CIOrPerson, Person
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At, Desk
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import if_match, path_agent, path_id

router = APIRouter(prefix="/v1/agents", tags=["agents"])

MATCHING = {"If-Match": False}
NoBody = Annotated[Nothing, Depends(reads(Nothing))]


@router.post(
    "", status_code=201, responses=responses(s201=answers.Agent), openapi_extra=takes(AgentAsk)
)
def register(
    caller: CI, asked: Annotated[AgentAsk, Depends(reads(AgentAsk))], desk: At
) -> JSONResponse:
    """Provision an agent within the trust rule of the calling CI job."""
    made = life.register_agent(desk.broker, caller, desk.rule_of(caller), asked.value())
    return JSONResponse(_shape(desk, made), 201)


@router.get("", responses=responses(s200=answers.Agents))
def agents(caller: AgentOrPerson, desk: At) -> JSONResponse:
    """Agents by name, as far as the caller may see them."""
    return JSONResponse({"items": [shapes.agent(one) for one in look.agents(desk.broker, caller)]})


@router.get("/{name}", responses=responses(s200=answers.Agent))
def agent(name: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """One agent by id or name."""
    return JSONResponse(shapes.agent(look.agent(desk.broker, caller, path_agent(name))))


@router.patch("/{name}", responses=responses(s200=answers.Agent), openapi_extra=takes(AgentChange))
def change(
    name: str,
    caller: CIOrPerson,
    asked: Annotated[AgentChange, Depends(reads(AgentChange))],
    desk: At,
) -> JSONResponse:
    """Change team, labels or boundary; a boundary only narrows."""
    rule = desk.rule_of(caller)
    changed = life.change_agent(desk.broker, caller, rule, path_agent(name), asked.value())
    return JSONResponse(_shape(desk, changed))


@router.post(
    "/{name}/bindings",
    status_code=201,
    responses=responses(s201=answers.Binding),
    openapi_extra=takes(BindingAsk),
)
def bind(
    name: str,
    caller: CIOrPerson,
    asked: Annotated[BindingAsk, Depends(reads(BindingAsk))],
    desk: At,
) -> JSONResponse:
    """Bind one more workload identity."""
    rule = desk.rule_of(caller)
    bound = life.bind_agent(desk.broker, caller, rule, path_agent(name), asked.value())
    return JSONResponse(shapes.binding(bound), 201)


@router.post(
    "/{name}/bindings/{binding_id}/unbind",
    responses=responses(s200=answers.Agent),
    openapi_extra=takes(Nothing),
)
def unbind(name: str, binding_id: str, caller: CIOrPerson, _: NoBody, desk: At) -> JSONResponse:
    """Take a workload identity away; it gets no token any more."""
    rule, gone = desk.rule_of(caller), path_id("binding", binding_id)
    left = life.unbind_agent(desk.broker, caller, rule, path_agent(name), gone)
    return JSONResponse(_shape(desk, left))


@router.post(
    "/{name}/accept",
    responses=responses(s200=answers.Agent),
    openapi_extra=takes(Nothing, headers=MATCHING),
)
def accept(name: str, caller: Person, _: NoBody, desk: At, request: Request) -> JSONResponse:
    """The named owner takes responsibility."""
    seen = if_match(request)
    accepted = life.accept_agent(desk.broker, caller, path_agent(name), seen)
    return JSONResponse(_shape(desk, accepted))


@router.post(
    "/{name}/disable",
    responses=responses(s200=answers.Agent),
    openapi_extra=takes(Nothing, headers=MATCHING),
)
def disable(name: str, caller: CIOrPerson, _: NoBody, desk: At, request: Request) -> JSONResponse:
    """Stop an agent; everything it holds starts to end."""
    rule, seen = desk.rule_of(caller), if_match(request)
    disabled = life.disable_agent(desk.broker, caller, path_agent(name), rule, seen)
    return JSONResponse(_shape(desk, disabled))


def _shape(desk: Desk, one: Agent) -> shapes.Json:
    return shapes.agent(look.with_bindings(desk.broker, one))
