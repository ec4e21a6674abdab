"""The application: rooms of routes, one error table, one frame around it all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from valetkey.core.errors import BrokerError
from valetkey.ports import Broker
from valetkey.web import oauth, operations, problems
from valetkey.web.api import (
    agents,
    catalogue,
    credentials,
    delegations,
    grants,
    history,
    kills,
    leaks,
    leases,
    proposals,
    provisioning,
    rules,
    tasks,
)
from valetkey.web.desk import Desk
from valetkey.web.doors import Doors
from valetkey.web.frame import Frame
from valetkey.web.knocks import Knocks
from valetkey.web.operations import Watch
from valetkey.web.paper import document
from valetkey.web.proofs import Authenticator

ROOMS = (
    *(
        agents,
        provisioning,
        proposals,
        delegations,
        tasks,
        catalogue,
        credentials,
        grants,
        leases,
        kills,
        leaks,
        history,
        rules,
    ),
    *(oauth, operations),
)


def _nothing() -> None:
    """No hook."""


@dataclass(frozen=True)
class Hooks:
    """What to do when serving begins and ends; both run in a thread."""

    begin: Callable[[], None] = _nothing
    end: Callable[[], None] = _nothing


def create_app(
    broker: Broker,
    authenticator: Authenticator,
    doors: Doors,
    watch: Watch,
    hooks: Hooks | None = None,
) -> FastAPI:
    """The HTTP side of one broker, at `doors.external_url`; serve it with one worker process."""
    app = FastAPI(
        title="Valetkey",
        version="1",
        lifespan=_life(doors, hooks or Hooks()),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    knocks = Knocks(broker.store, watch.metrics)
    room = CapacityLimiter(doors.slow_calls)
    desk = Desk(broker, authenticator, doors, watch.metrics, knocks, room)
    app.state.desk, app.state.watch = desk, watch
    app.add_exception_handler(BrokerError, problems.on_refusal)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_middleware(Frame, desk=desk)
    for room_of_routes in ROOMS:
        app.include_router(room_of_routes.router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def _life(doors: Doors, hooks: Hooks) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = doors.threads
        await anyio.to_thread.run_sync(hooks.begin)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(hooks.end)

    return life
