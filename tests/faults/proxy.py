"""Ours between the broker and a server: it cuts, delays, swallows, lies and goes dark.

`BaoProxy` understands HTTP, so that it can let a request take effect and lose the answer.
`PostgresProxy` passes bytes, and can lose a COMMIT or the answer to one.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, list[tuple[str, str]], bytes]


@dataclass
class Rule:
    """What happens to requests whose `METHOD /path` matches, `times` at most.

    `act` is one of cut (before the effect), swallow (the answer, after it), error (500 after it),
    redirect (to `host`, without an effect), hold (until `released`, then it goes on) and dark
    (until `released`, then cut without an effect).
    """

    pattern: str
    act: str
    times: int = 1_000_000
    host: str = ""
    met: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    clients: set[socket.socket]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember whom we talk to, to be able to hang up on all of them."""
        self.clients.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A broker that hangs up is no news."""


class BaoProxy:
    """An HTTP reverse proxy on a loopback port; every request is noted as `METHOD /path`."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.rules: list[Rule] = []
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self.port = 0
        self.up()

    @property
    def address(self) -> str:
        """Where the broker is told OpenBao is."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen, on the same port each time."""
        self._server = _Server(("127.0.0.1", self.port), self._handler())
        self._server.clients = set()
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def down(self) -> None:
        """Hang up on everybody and listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for client in self._server.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def rule(self, pattern: str, act: str, *, times: int = 1_000_000, host: str = "") -> Rule:
        """From now on, do this to what matches; later rules are looked at first."""
        made = Rule(pattern, act, times, host)
        with self._lock:
            self.rules.insert(0, made)
        return made

    def clear(self) -> None:
        """Be honest again; what was held goes on."""
        with self._lock:
            old, self.rules = self.rules, []
        for rule in old:
            rule.released.set()

    def close(self) -> None:
        """Stop."""
        self.clear()
        self.down()

    def _match(self, request: str) -> Rule | None:
        with self._lock:
            self.seen.append(request)
            for rule in self.rules:
                if rule.met < rule.times and re.search(rule.pattern, request):
                    rule.met += 1
                    return rule
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def relay(self) -> None:
                proxy.headers.append(dict(self.headers))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = proxy.answer(self.command, self.path, dict(self.headers), body)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_LIST = relay  # noqa: N815  http.server's names

            def log_message(self, *args: object) -> None:
                """Silent."""

        return Handler

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Answer | None:
        """What to send back; None hangs up."""
        rule = self._match(f"{method} {path}")
        act = rule.act if rule else "pass"
        if rule is not None:
            rule.reached.set()
            if act in {"hold", "dark"}:
                rule.released.wait(120)
            if act in {"cut", "dark"}:
                return None
            if act == "redirect":
                return 307, [("Location", f"{rule.host}{path}")], b""
        answer = self._forward(method, path, headers, body)
        if act == "swallow":
            return None
        if act == "error":
            return 500, [], b'{"errors":["internal error"]}'
        return answer

    def _forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Answer | None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=100)
        try:
            upstream.request(method, path, body, headers)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            upstream.close()


class PostgresProxy:
    """A TCP proxy on a loopback port.

    `delay` is how many seconds each COMMIT takes more; while `hole`, whatever is said is lost.
    """

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.open = True
        self.hole = False
        self.delay = 0.0
        self.lost = 0
        self._armed: list[tuple[str, int, bytes]] = []
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._deaf: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where the broker is told Postgres is."""
        return int(self._listener.getsockname()[1])

    def lose(self, what: str, nth: int = 1, *, saying: bytes = b"") -> None:
        """Lose the nth next `commit` (it never arrives) or `answer` to one (it took effect).

        Only transactions in which the broker says this are counted.
        """
        with self._lock:
            self._armed.append((what, nth, saying))

    def cut(self) -> None:
        """Cut every connection and let nobody in."""
        self.open = False
        for pair in list(self._pairs):
            self._end(pair)

    def mend(self) -> None:
        """Let them in again."""
        self.open = True

    def freeze(self) -> None:
        """Take everything, connections too, and say nothing any more."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Go on where it froze."""
        self._flowing.set()

    def close(self) -> None:
        """Stop."""
        self.thaw()
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.open:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream_port))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            self._pairs.add(pair)
            for source, sink, watch in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._pump, args=[pair, source, sink, watch])
                self._threads.append(thread)
                thread.start()

    def _pump(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket,
        sink: socket.socket, watch: bool,
    ) -> None:
        said = b""
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                self._flowing.wait(120)
                said += chunk if watch else b""
                loss = ""
                if self.hole:
                    continue
                if watch and b"COMMIT\0" in said:
                    threading.Event().wait(self.delay)
                    loss, said = self._loss(said), b""
                if loss == "answer":
                    self._deaf.add(pair)
                if loss == "commit" or (not watch and pair in self._deaf):
                    break
                sink.sendall(chunk)
        self._end(pair)

    def _loss(self, said: bytes) -> str:
        with self._lock:
            for at, (what, left, saying) in enumerate(self._armed):
                if saying in said:
                    self._armed[at] = (what, left - 1, saying)
            due = [what for what, left, _ in self._armed if left == 0]
            self._armed = [armed for armed in self._armed if armed[1] > 0]
            self.lost += len(due)
        return due[0] if due else ""

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def between_bao(upstream_port: int) -> Iterator[BaoProxy]:
    """A proxy before OpenBao, stopped afterwards."""
    proxy = BaoProxy(upstream_port)
    try:
        yield proxy
    finally:
        proxy.close()


@contextlib.contextmanager
def between_postgres(upstream_port: int) -> Iterator[PostgresProxy]:
    """A proxy before Postgres, stopped afterwards."""
    proxy = PostgresProxy(upstream_port)
    try:
        yield proxy
    finally:
        proxy.close()


__all__ = ["BaoProxy", "PostgresProxy", "between_bao", "between_postgres"]
