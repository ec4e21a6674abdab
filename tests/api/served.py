"""A hall behind a real HTTP server on a loopback port, for clients that speak HTTP themselves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from tests.api.hall import Hall


class Served:
    """A hall behind uvicorn on a loopback port."""

    def __init__(self, hall: Hall, listening: socket.socket | None = None, **more: Any) -> None:
        """`more` is what uvicorn is told besides."""
        self.hall = hall
        usual = {"port": 0, "log_level": "critical", "server_header": False}
        settings = uvicorn.Config(hall.app, **usual, **more)
        self.server = uvicorn.Server(settings)
        self.listening = listening or socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([self.listening],))
        self.thread.start()
        until(lambda: self.server.started)

    def close(self) -> None:
        """Stop serving."""
        self.server.should_exit = True
        self.thread.join(30)
        self.listening.close()

    def connected(self, head: str) -> socket.socket:
        """A connection that has sent this request line and these headers."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        line.sendall(head.replace("\n", "\r\n").encode())
        return line


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true; fail after 30 seconds."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
