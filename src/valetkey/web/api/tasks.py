"""`/v1/tasks`: start, pass on, take, look, end, and the receipt."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.flows import look, on_behalf
from valetkey.flows.delegate import delegate, take_task
from valetkey.flows.end_task import Receipt, end_task
from valetkey.flows.end_task import receipt as receipt_of
from valetkey.flows.heartbeat import heartbeat
from valetkey.flows.start_task import start_task
from valetkey.web.api import answers, shapes
from valetkey.web.api.asks import Beat, TaskAsk
from valetkey.web.auth import Agent, AgentOrPerson, PacedAgent, Room
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import PERSON, Filters, path_id

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

FILTERS = Filters({"on_behalf_of": PERSON})


@router.post(
    "", status_code=201, responses=responses(s201=answers.Task), openapi_extra=takes(TaskAsk)
)
def start(
    caller: PacedAgent, asked: Annotated[TaskAsk, Depends(reads(TaskAsk))], desk: At
) -> JSONResponse:
    """Start a task; it is itself a decision. Under a `parent` it can only be narrower."""
    plan = asked.value()
    if asked.parent is None:
        task = start_task(desk.broker, caller, plan)
    else:
        parent = path_id("task", asked.parent)
        task = delegate(desk.broker, caller, parent, plan, asked.agent)
    return JSONResponse(shapes.task(task), 201)


@router.get("", responses=responses(s200=answers.Tasks), openapi_extra=takes(filters=FILTERS))
def tasks(sent: Request, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """The newest tasks the caller may see, or that act for a person."""
    person = FILTERS.read(sent).get("on_behalf_of")
    if person is None:
        found = look.tasks(desk.broker, caller)
    else:
        found = on_behalf.tasks_for(desk.broker, caller, person)
    return JSONResponse({"items": [shapes.task(one) for one in found]})


@router.get("/{task_id}", responses=responses(s200=answers.Task))
def task(task_id: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """One task."""
    return JSONResponse(shapes.task(look.task(desk.broker, caller, path_id("task", task_id))))


@router.get("/{task_id}/receipt", responses=responses(s200=answers.Receipt))
def receipt(task_id: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """The receipt of an ended task, as far as it is now."""
    return JSONResponse(shapes.receipt(receipt_of(desk.broker, caller, path_id("task", task_id))))


@router.get("/{task_id}/tree", responses=responses(s200=answers.TaskTree))
def tree(task_id: str, caller: AgentOrPerson, desk: At) -> JSONResponse:
    """A task with all that was opened under it, and every credential of theirs."""
    return JSONResponse(shapes.tree(look.tree(desk.broker, caller, path_id("task", task_id))))


@router.post(
    "/{task_id}/take", responses=responses(s200=answers.Task), openapi_extra=takes(Nothing)
)
def take(
    task_id: str, caller: PacedAgent, _: Annotated[Nothing, Depends(reads(Nothing))], desk: At
) -> JSONResponse:
    """Take a task that was opened for the calling agent: it is bound to the caller's key."""
    return JSONResponse(shapes.task(take_task(desk.broker, caller, path_id("task", task_id))))


@router.post(
    "/{task_id}/heartbeat", responses=responses(s200=answers.Task), openapi_extra=takes(Beat)
)
def beat(
    task_id: str, caller: Agent, asked: Annotated[Beat, Depends(reads(Beat))], desk: At
) -> JSONResponse:
    """Say that the task lives; `fence` in the answer is for the next beat."""
    beaten = heartbeat(desk.broker, caller, path_id("task", task_id), asked.fence)
    return JSONResponse(shapes.task(beaten))


@router.post(
    "/{task_id}/end",
    responses=responses(s200=answers.Receipt, s202=answers.Receipt),
    openapi_extra=takes(Nothing),
)
def end(
    task_id: str,
    caller: AgentOrPerson,
    _: Annotated[Nothing, Depends(reads(Nothing))],
    desk: At,
    room: Room,
) -> JSONResponse:
    """End a task; 202 while the end of a credential is not yet proven."""
    ended: Receipt = end_task(desk.broker, caller, path_id("task", task_id))
    return JSONResponse(shapes.receipt(ended), 200 if ended.complete else 202)
