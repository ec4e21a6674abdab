"""What only a real server shows: bodies that never end, clients that hang up, no banner."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.api.hall import SCOPE, Hall
from tests.api.served import Served, until


def read_all(line: socket.socket) -> str:
    """Everything until the server closes."""
    got = b""
    with line:
        while chunk := line.recv(65536):
            got += chunk
    return got.decode()


@pytest.fixture
def served() -> Iterator[Served]:
    """A served hall whose bodies must arrive within half a second."""
    with ExitStack() as stack:
        served = Served(Hall(stack, body_within=0.5))
        stack.callback(served.close)
        yield served


def head(served: Served, path: str, more: str) -> str:
    """A POST by the bot with these further headers."""
    own = "".join(f"{k}: {v}\n" for k, v in served.hall.bot.headers("POST", path).items())
    return f"POST {path} HTTP/1.1\nHost: x\nContent-Type: application/json\n{own}{more}\n\n"


def test_a_body_announced_over_the_limit_is_not_read(served: Served) -> None:
    """413 at once, though nothing of a gigabyte was sent, and the connection closes."""
    line = served.connected(head(served, "/v1/tasks", "Content-Length: 1000000000"))
    answer = read_all(line)
    assert answer.startswith("HTTP/1.1 413 ")
    assert '"code":"body_too_large"' in answer
    assert served.hall.refusals() == ["body_too_large"]


def test_a_chunked_body_without_end_is_cut_off(served: Served) -> None:
    """413 after the limit, not after the memory."""
    line = served.connected(head(served, "/v1/tasks", "Transfer-Encoding: chunked"))
    chunk = b"1000\r\n" + b"a" * 0x1000 + b"\r\n"
    for _ in range(17):  # the first beyond the limit; what is left unread would reset the answer
        line.sendall(chunk)
    assert read_all(line).startswith("HTTP/1.1 413 ")


def test_a_body_that_trickles_in_is_given_up(served: Served) -> None:
    """422 once the time for the body is over."""
    line = served.connected(
        head(served, "/v1/tasks", "Content-Length: 100\nConnection: close") + "{"
    )
    answer = read_all(line)
    assert answer.startswith("HTTP/1.1 422 ")
    assert "in time" in answer


def test_a_client_that_hangs_up_does_not_cancel_its_mint(served: Served) -> None:
    """The mint runs to its end and is on record, although nobody hears of it."""
    hall, gate, arrived = served.hall, threading.Event(), threading.Event()

    def hang() -> None:
        arrived.set()
        assert gate.wait(30)

    hall.stage.minter.before_mint = hang
    task = hall.bot.start()["id"]
    body = json.dumps({"task": task, "scope": SCOPE, "ttl": 60})
    more = f"Idempotency-Key: k\nContent-Length: {len(body)}"
    line = served.connected(head(served, "/v1/credentials", more) + body)
    assert arrived.wait(30)
    line.close()
    gate.set()
    until(lambda: hall.facts()[-1].fact.kind == "LeaseMinted")
    assert len(hall.stage.minter.alive) == 1


def test_no_answer_names_the_server(served: Served) -> None:
    """Started without its banner there is none, and a defect of HTTP itself tells nothing."""
    answer = read_all(served.connected("GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n"))
    assert answer.startswith("HTTP/1.1 200 ")
    assert "server:" not in answer.lower()
    assert "cache-control: no-store" in answer.lower()
