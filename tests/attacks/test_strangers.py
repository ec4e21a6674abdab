"""Anonymous clients at the socket: heads without end, slow ones, smuggling, floods of nonsense."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import uvicorn

from tests.api.hall import Hall
from valetkey.web.heads import BoundedHeads

START = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n"


class Impatient(BoundedHeads):
    """The same, with a tenth of the patience."""

    within = 0.3


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a hall, served as `serve` does it."""
    with ExitStack() as stack:
        hall = Hall(stack, body_within=0.5)
        settings = uvicorn.Config(hall.app, http=Impatient, loop="uvloop", log_level="critical")
        server = uvicorn.Server(settings)
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield int(listening.getsockname()[1])
        server.should_exit = True
        thread.join(30)


def told(port: int, *parts: bytes) -> bytes:
    """What the server answers before it closes, or in two seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as line:
        got = b""
        try:
            for part in parts:
                line.sendall(part)
            while chunk := line.recv(65536):
                got += chunk
        except (ConnectionError, TimeoutError):
            pass
        return got


def endless(port: int, start: bytes, part: bytes) -> int:
    """How many parts of a request without end are taken before the connection is cut."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(start)
        for sent in range(3000):
            try:
                line.sendall(part)
            except ConnectionError:
                return sent
    return 3000


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "one header": (START + b"X-A: ", b"a" * 65536),
    "many headers": (START, b"X-A: aaaaaaaaaaaaaaaaaaaaaaa\r\n" * 2000),
    "a path": (b"GET /", b"a" * 65536),
    "a chunk extension": (CHUNKED + b"1;", b"a" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"X-A: aaaaaaaaaaaaaaaaaaaaaaa\r\n" * 2000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_nothing_around_a_body_is_without_end(port: int, what: str) -> None:
    """A stranger who sends for ever is cut off within some megabytes of socket buffers."""
    assert endless(port, *ENDLESS[what]) < 500


def test_a_head_that_does_not_come_is_not_waited_for(port: int) -> None:
    """Neither silence nor half a head holds a connection."""
    for begun in (b"", START, START + b"X-"):
        began = time.monotonic()
        assert told(port, begun) == b""
        assert time.monotonic() - began < 1.5


def test_a_usual_request_is_served_and_its_connection_kept(port: int) -> None:
    """The bounds are not in the way of two requests on one connection, however slowly used."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        for _ in range(2):
            line.sendall(START + b"X-Long: " + b"a" * 16000 + b"\r\n\r\n")
            answer = b""
            while b"alive" not in answer:
                answer += line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")


SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\naaaaaa",
    "length and chunks": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk that is no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\naa\r\n",
    "a length that is no number": POST + b"Content-Length: +5\r\n\r\naaaaa" + SMUGGLED,
    "a header with NUL": START + b"DPoP: a\x00b\r\n\r\n",
    "a folded header": START + b"DPoP: a\r\n b\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 5\r\n\r\naaaaa" + SMUGGLED,
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_ambiguous_framing_is_refused_and_nothing_is_smuggled(port: int, what: str) -> None:
    """400, the connection closes, and what was hidden behind is never a request."""
    answer = told(port, AMBIGUOUS[what])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"valetkey_" not in answer


@pytest.mark.parametrize("method", ["HEAD", "TRACE", "OPTIONS", "PUT", "get"])
def test_a_method_that_a_route_does_not_take_does_nothing(port: int, method: str) -> None:
    """No override, no echo of what was sent."""
    line = f"{method} /v1/kill HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: POST\r\n"
    answer = told(port, line.encode() + b"X-Canary: k4n4ry\r\nConnection: close\r\n\r\n")
    assert answer.split()[1] in {b"400", b"405"}
    assert b"k4n4ry" not in answer
