"""The frame around the application: reads bodies with a limit, sets headers, catches defects.

Plain ASGI, so that nothing is buffered twice and no call is cancelled when its client hangs up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from contextlib import nullcontext
from typing import Any

import anyio
from anyio import CapacityLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.core.errors import BodyTooLarge, BrokerError, InvalidRequest
from valetkey.web.desk import Desk
from valetkey.web.problems import answer, on_record

_LOG = logging.getLogger("valetkey.web")

_URGENT = re.compile(r"/v1/kill(/.*)?|/v1/leases/[^/]+/revoke|/v1/tasks/[^/]+/end|/readyz|/metrics")
"""Routes that must not wait for a connection behind asks, however many there are."""

_LARGE = re.compile(r"/v1/rules(/plan)?")
"""Routes whose bodies are files."""


class Frame:
    """ASGI middleware; `state["body"]` is what came, or the refusal of what came."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._large = CapacityLimiter(desk.doors.large_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        body = await self._body(scope, receive)
        if body is None:
            return
        state["body"] = body
        outgoing = _Outgoing(send)
        store = self._desk.broker.store
        try:
            with store.urgent() if _URGENT.fullmatch(scope["path"]) else nullcontext():
                await self._app(scope, receive, outgoing)
        except Exception as defect:  # noqa: BLE001 - the last place that can keep it from leaking
            route = getattr(scope.get("route"), "path", "no route")
            _LOG.error("defect %s in %s %s", type(defect).__name__, scope["method"], route)
            if not outgoing.started:
                await self._answer_defect(scope, receive, outgoing)

    async def _answer_defect(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = await anyio.to_thread.run_sync(on_record, self._desk, scope, BrokerError())
        await answer(scope, error)(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | BrokerError | None:
        """The whole body within limits; None when the client went away before it was sent."""
        if scope["method"] in {"GET", "HEAD"}:
            return b""
        doors, large = self._desk.doors, _LARGE.fullmatch(scope["path"]) is not None
        limit = doors.large_limit if large else doors.body_limit
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and (len(length) > 12 or int(length) > limit):
            return BodyTooLarge()
        try:
            with anyio.fail_after(doors.body_within):
                if not large:
                    return await _read(receive, limit)
                async with self._large:  # strangers may send them too
                    return await _read(receive, limit)
        except TimeoutError:
            return InvalidRequest("the body did not arrive in time")


class _Outgoing:
    """Sends, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["Cache-Control"] = "no-store"
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)


async def _read(receive: Receive, limit: int) -> bytes | BrokerError | None:
    read = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        read += message.get("body", b"")
        if len(read) > limit:
            return BodyTooLarge()
        if not message.get("more_body", False):
            return bytes(read)
