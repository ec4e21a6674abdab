"""Doors: which kind of caller a route is for. Passing one comes before anything else is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated

import anyio
from fastapi import Depends, Request

from valetkey.core.errors import BrokerError, NotReady, StoreUnavailable, WrongDoor
from valetkey.core.peer import NOBODY, Peer
from valetkey.core.principal import Caller
from valetkey.flows.admit import pace
from valetkey.web.desk import At, Desk
from valetkey.web.heads import PEER


def door(*kinds: str, paced: bool = False) -> Callable[[Request, Desk], Caller]:
    """A dependency that lets in these kinds of callers, after checking their proofs.

    Raises what the authenticator raises (counted as knocking), WrongDoor for a known caller of
    another kind, and at a `paced` door RateLimited for one that comes too often.
    """

    def enter(request: Request, desk: At) -> Caller:
        try:
            caller = desk.authenticator.authenticate(
                request.headers.getlist("authorization"),
                request.headers.getlist("dpop"),
                request.method,
                called(request, desk),
                shown_by(request),
            )
        except StoreUnavailable:
            raise
        except BrokerError as unknown:
            desk.knocks.knocked(source(request), unknown)
            raise
        request.state.caller = caller
        if caller.kind not in kinds:
            raise WrongDoor()
        if paced:
            pace(desk.broker, caller.principal)
        return caller

    return enter


def called(request: Request, desk: Desk) -> str:
    """The address a proof must be made for: the configured one, with the path as it was sent."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return desk.doors.url_of(raw.partition(b"?")[0].decode("ascii", "replace"))


def shown_by(request: Request) -> Peer:
    """The certificates of the client of this connection; headers are never looked at for them."""
    peer: Peer = request.scope["state"].get(PEER, NOBODY)
    return peer


def source(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else "unknown"


async def _room(desk: At) -> AsyncIterator[None]:
    """Hold a place among the slow calls, so that they never take every thread."""
    place = object()
    try:
        with anyio.fail_after(desk.doors.room_within):
            await desk.room.acquire_on_behalf_of(place)
    except TimeoutError:
        raise NotReady("too many calls wait for back ends", retry_after=5) from None
    try:
        yield
    finally:
        desk.room.release_on_behalf_of(place)


Agent = Annotated[Caller, Depends(door("agent"))]
PacedAgent = Annotated[Caller, Depends(door("agent", paced=True))]
PacedAnybody = Annotated[Caller, Depends(door("agent", "ci", "person", paced=True))]
Person = Annotated[Caller, Depends(door("person"))]
CI = Annotated[Caller, Depends(door("ci"))]
PacedCI = Annotated[Caller, Depends(door("ci", paced=True))]
CIOrPerson = Annotated[Caller, Depends(door("ci", "person"))]
AgentOrPerson = Annotated[Caller, Depends(door("agent", "person"))]
Room = Annotated[None, Depends(_room)]
