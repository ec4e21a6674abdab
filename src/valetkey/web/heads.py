"""Request heads, bounded in size and in time before anybody is asked who they are.

And who that is as far as TLS knows: no ASGI server hands over the certificates of its client, so
this protocol puts them into the state of each request.

uvicorn's httptools protocol takes a head, a chunk extension or a trailer of any length, and waits
for ever for the end of one: a stranger could fill memory and hold every file descriptor.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from asyncio.events import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from valetkey.core.peer import NOBODY, Peer

PEER: Final = "peer"
"""Where the state of a request holds the certificates of its client."""
_DER: Final = 2
"""`_ssl.ENCODING_DER`."""


class BoundedHeads(HttpToolsProtocol):
    """One connection: what surrounds a body is at most `largest` bytes, a head `within` seconds."""

    largest = 64 * 1024
    within = 10.0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._surrounding = 0
        self._patience: TimerHandle | None = None
        self._peer: Peer = NOBODY

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came; its first head is waited for."""
        super().connection_made(transport)
        self._peer = _shown_over(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; 400 and the end of the connection when too much of it is no body."""
        self._surrounding += len(data)
        super().data_received(data)
        if self._surrounding > self.largest and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._surrounding = 0
        self._wait_for_head()
        super().on_message_begin()
        self.scope["state"][PEER] = self._peer

    def on_headers_complete(self) -> None:
        """A whole head; the body has a patience of its own."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of a body, whose size the frame bounds."""
        self._surrounding -= len(body)
        super().on_body(body)

    def _wait_for_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self.within, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_slow(self) -> None:
        self._patience = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # an answer is still owed on this connection
        elif not self.transport.is_closing():
            self.transport.close()


def _shown_over(transport: asyncio.Transport) -> Peer:
    """The certificates that the client of a connection showed, its own first."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    own = None if tls is None else tls.getpeercert(binary_form=True)
    if tls is None or own is None:
        return NOBODY
    return (own, *(der for der in _chain(tls) if der != own))


def _chain(tls: Any) -> list[bytes]:
    """All that was sent, DER; public from Python 3.13 on."""
    if sys.version_info >= (3, 13):
        return list(tls.get_unverified_chain())
    chain = tls._sslobj.get_unverified_chain() or ()  # noqa: SLF001
    return [one.public_bytes(_DER) for one in chain]
