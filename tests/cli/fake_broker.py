"""A small broker on loopback for the CLI's tests: real HTTP, canned answers, everything noted.

It answers `POST /oauth2/token` itself, and refuses a call whose DPoP proof (checked here with
PyJWT, not with our own code) does not fit method, URL and token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from jwt.algorithms import ECAlgorithm

Json = dict[str, Any]


@dataclass
class Call:
    """One call as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str
    proof: Json

    @property
    def json(self) -> Json:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body))


Reply = tuple[int, Json] | Callable[[Call], tuple[int, Json]]


@dataclass
class FakeBroker:
    """Answers by method and path; a list of answers is used up one by one, its last one stays.

    An answer may be made of the call.
    """

    url: str = ""
    answers: dict[str, list[Reply]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    expires_in: int = 300

    def on(self, route: str, *answers: Reply) -> None:
        """Answer `METHOD /path` so."""
        self.answers[route] = list(answers)

    def made(self, route: str) -> list[Call]:
        """The calls to `METHOD /path`."""
        return [call for call in self.calls if f"{call.method} {call.path}" == route]

    def answer(self, call: Call) -> tuple[int, Json]:
        """Note a call and find its answer."""
        self.calls.append(call)
        route = f"{call.method} {call.path}"
        if route in self.answers:
            left = self.answers[route]
            reply = left.pop(0) if len(left) > 1 else left[0]
            return reply(call) if callable(reply) else reply
        if route == "POST /oauth2/token":
            return 200, self.token()
        return 404, problem("not_found", 404)

    def token(self) -> Json:
        """A token answer; the token says who we are, as ours do."""
        claims = {"sub": "agent_x", "vk_kind": "agent", "vk_agent": "refund-bot", "n": self.count()}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        return {
            "access_token": f"e30.{body}.c2ln",
            "token_type": "DPoP",
            "expires_in": self.expires_in,
        }

    def count(self) -> int:
        """How many tokens were asked for."""
        return len(self.made("POST /oauth2/token"))


def problem(code: str, status: int, **more: object) -> Json:
    """A refusal as the broker writes it."""
    return {
        "type": code,
        "title": code,
        "status": status,
        "code": code,
        "detail": f"why {code}",
        "next_action": f"what to do about {code}",
        **more,
    }


def checked_proof(proof: str, method: str, url: str, authorization: str) -> Json:
    """The claims of a DPoP proof; raises when it does not fit (RFC 9449 section 4.3)."""
    header = jwt.get_unverified_header(proof)
    assert header["typ"] == "dpop+jwt"
    assert "d" not in header["jwk"]
    key = ECAlgorithm.from_jwk(header["jwk"])
    claims: Json = jwt.decode(proof, key, algorithms=["ES256"])  # type: ignore[arg-type]
    assert (claims["htm"], claims["htu"]) == (method, url)
    if authorization:
        token = authorization.removeprefix("DPoP ")
        digest = hashlib.sha256(token.encode()).digest()
        assert claims["ath"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {**claims, "jwk": header["jwk"]}


def start(broker: FakeBroker) -> ThreadingHTTPServer:
    """Serve on a free loopback port; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

        def _do(self) -> None:
            where = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            authorization = headers.get("authorization", "")
            claims: Json = {}
            if "dpop" in headers:
                url = f"{broker.url}{where.path}"
                claims = checked_proof(headers["dpop"], self.command, url, authorization)
            query = dict(parse_qsl(where.query))
            call = Call(self.command, where.path, query, headers, body, claims)
            status, answer = broker.answer(call)
            told = {name: value for name, value in answer.items() if name != "DPoP-Nonce"}
            raw = json.dumps(told).encode()
            self.send_response(status)
            if "DPoP-Nonce" in answer:
                self.send_header("DPoP-Nonce", answer["DPoP-Nonce"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def do_GET(self) -> None:
            self._do()

        def do_POST(self) -> None:
            self._do()

        def do_PUT(self) -> None:
            self._do()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    broker.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    return server
