"""A stub of a Kubernetes API server: TokenReview and the keys, over real HTTP on loopback.

It is not a cluster. It says what one would say about tokens of its own issuer, and remembers what
it was asked; `mood` makes it answer otherwise.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from valetkey.testing.issuer import LocalIssuer

OURS = "our-own-token"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
Answer = tuple[int, bytes]


class ApiServerStub:
    """What it knows: the issuer of its tokens, and the uids of what was deleted."""

    def __init__(self, issuer: LocalIssuer) -> None:
        self.issuer = issuer
        self.deleted: set[str] = set()
        self.mood: Answer | None = None
        self.changes: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.silent = threading.Event()
        self.silent.set()
        self.url = ""

    def answer(self, path: str, authorization: str, body: bytes) -> Answer:
        """One request's answer."""
        self.silent.wait(10)
        if self.mood is not None:
            return self.mood
        if authorization != f"Bearer {OURS}":
            return 401, b"{}"
        if path == "/openid/v1/jwks":
            return 200, json.dumps({"keys": self.issuer.shown}).encode()
        if path != REVIEW:
            return 404, b"{}"
        asked = json.loads(body)
        self.asked.append(asked["spec"])
        status = {**self._status(asked["spec"]), **self.changes}
        return 201, json.dumps({**asked, "status": status}).encode()

    def _status(self, spec: dict[str, Any]) -> dict[str, Any]:
        part = spec["token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        bound = claims["kubernetes.io"]
        uids = {bound[kind]["uid"] for kind in ("serviceaccount", "pod")}
        if uids & self.deleted:
            return {"authenticated": False, "error": "has been deleted"}
        return {
            "authenticated": True,
            "audiences": [one for one in spec["audiences"] if one in claims["aud"]],
            "user": {
                "username": claims["sub"],
                "uid": bound["serviceaccount"]["uid"],
                "groups": ["system:serviceaccounts"],
                "extra": {"authentication.kubernetes.io/pod-uid": [bound["pod"]["uid"]]},
            },
        }


@contextmanager
def api_server(issuer: LocalIssuer, certificate: Path | None = None) -> Iterator[ApiServerStub]:
    """A stub that listens; with a certificate and its key in one file, over TLS."""
    stub = ApiServerStub(issuer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    stub.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield stub
    finally:
        stub.silent.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(stub: ApiServerStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            authorization = self.headers.get("Authorization", "")
            status, answer = stub.answer(self.path, authorization, body)
            self.send_response(status)
            if status in (301, 307):
                self.send_header("Location", f"{stub.url}/elsewhere")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: object, **named: object) -> None:
            """Say nothing."""

    return Handler
