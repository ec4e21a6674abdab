"""Something else than OpenBao answers at its address: doubt, never a foreign exception."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from valetkey.core.errors import MinterUnavailable, OutcomeUnknown
from valetkey.minters.bao import Bao, Login


class Stranger(BaseHTTPRequestHandler):
    """Says 200 and one page to everything: HTML, and of health a time that is none."""

    def do_GET(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        page = b"<html>welcome</html>"
        if self.path == "/v1/sys/health":
            page = b'{"server_time_utc": NaN}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_POST = do_PUT = do_DELETE = do_LIST = do_GET  # noqa: N815 - the names http.server wants

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[Bao]:
    """A client of that server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Bao(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_strange_answer_is_an_unknown_outcome(stranger: Bao, tmp_path: Path) -> None:
    """To logging in, asking how long a login lasts, calling and listing."""
    identity = tmp_path / "identity"
    identity.write_text("a.b.c")
    login = Login(stranger, "role", identity)
    with pytest.raises(OutcomeUnknown):
        stranger.call(login, "GET", "sys/policies/acl/some")
    with pytest.raises(OutcomeUnknown):
        stranger.names(login, "database/roles/")
    with pytest.raises(OutcomeUnknown):
        login.life_left()


def test_a_stranger_at_openbaos_address_is_called_so(stranger: Bao) -> None:
    """Readiness says it in words."""
    seen = stranger.health()
    assert seen.problem == "what answers is not OpenBao"
    with pytest.raises(MinterUnavailable):
        seen.apart(datetime.now(UTC))
