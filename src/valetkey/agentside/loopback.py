"""The loopback address a browser comes back to after a login (RFC 8252 section 7.3)."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit

PATH = "/callback"
_PAGE = b"<!doctype html><title>Valetkey</title><p>Logged in. You may close this page.</p>"


class Redirect:
    """Listens on a free loopback port for one answer; used as a context."""

    def __init__(self) -> None:
        self._answer: dict[str, str] = {}
        self._came = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.1], daemon=True)

    @property
    def uri(self) -> str:
        """The redirect URI to give to the issuer."""
        return f"http://127.0.0.1:{self._server.server_port}{PATH}"

    def answer(self, within: float) -> dict[str, str]:
        """The query of the first answer, empty when none came within so many seconds."""
        self._came.wait(within)
        return self._answer

    def __enter__(self) -> Redirect:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _take(self, query: str) -> bool:
        pairs = parse_qsl(query)
        found = dict(pairs)
        if self._came.is_set() or len(found) != len(pairs) or "state" not in found:
            return False
        self._answer = found
        self._came.set()
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            """Answers one path and logs nothing: the query holds a code."""

            def do_GET(self) -> None:  # the name is http.server's
                where = urlsplit(self.path)
                good = where.path == PATH and take(where.query)
                self.send_response(200 if good else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(_PAGE if good else b"")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        return Handler
