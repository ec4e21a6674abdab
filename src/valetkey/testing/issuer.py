"""LocalIssuer: keys, any token (also broken ones), and a JWKS over a real loopback server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = ECKey | RSAKey | OKPKey

WITHOUT: Final = object()
"""As the value of a claim or header member: leave it out."""


def segment(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def compact(header: Mapping[str, object], payload: Mapping[str, object] | bytes, key: Key) -> str:
    """A compact JWS of exactly this header and payload, with a good signature by `key`."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = f"{segment(json.dumps(header).encode())}.{segment(raw)}"
    algorithm = JWSRegistry.algorithms[str(header["alg"])]
    return f"{signing_input}.{segment(algorithm.sign(signing_input.encode(), key))}"


def hmac_compact(header: Mapping[str, object], payload: Mapping[str, object], key: bytes) -> str:
    """A compact JWS "signed" by HMAC-SHA256, for the classic confusion with a public key."""
    parts = (segment(json.dumps(part).encode()) for part in (header, payload))
    signing_input = ".".join(parts)
    return f"{signing_input}.{segment(hmac.digest(key, signing_input.encode(), 'sha256'))}"


def filled(defaults: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Defaults with changes; WITHOUT takes a member out."""
    return {k: v for k, v in {**defaults, **changes}.items() if v is not WITHOUT}


def public_jwk(key: Key) -> dict[str, Any]:
    """The public members of a key."""
    return dict(key.as_dict(private=False))


def dpop_proof(key: Key, now: float, claims: Mapping[str, object], **header: object) -> str:
    """A DPoP proof by `key`, good but for what `claims` and `header` change.

    A claim `token` is not sent; it is hashed into `ath`.
    """
    changes = dict(claims)
    token = changes.pop("token", None)
    defaults: dict[str, object] = {"jti": secrets.token_urlsafe(16), "iat": int(now)}
    if isinstance(token, str):
        defaults["ath"] = segment(hashlib.sha256(token.encode()).digest())
    head = filled({"typ": "dpop+jwt", "alg": "ES256", "jwk": public_jwk(key)}, header)
    return compact(head, filled(defaults, changes), key)


@dataclass
class Answer:
    """What the JWKS address answers when not with the keys; `after` seconds late."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: threading.Event | None = None


class LocalIssuer:
    """An issuer whose `iss` and JWKS are on loopback; a context manager.

    `hits` counts fetches of the JWKS; `answer`, when set, is sent instead of the keys.
    """

    def __init__(self) -> None:
        self.key: Key = ECKey.generate_key("P-256", {"use": "sig"}, auto_kid=True)
        self.shown: list[dict[str, Any]] = [public_jwk(self.key)]
        self.hits = 0
        self.answer: Answer | None = None
        self._count = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> LocalIssuer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The `iss`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def jwks_uri(self) -> str:
        """Where the keys are."""
        return f"{self.url}/jwks"

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one stays listed."""
        self.key = ECKey.generate_key("P-256", {"use": "sig"}, auto_kid=True)
        self.shown = [*self.shown, public_jwk(self.key)]

    def sign(
        self, now: float, claims: Mapping[str, object], header: Mapping[str, object] | None = None
    ) -> str:
        """A token, good but for what `claims` and `header` change; it lives 300 s from `now`."""
        defaults: dict[str, object] = {
            "iss": self.url,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + 300,
            "jti": secrets.token_urlsafe(16),
        }
        head = filled({"typ": "JWT", "alg": "ES256", "kid": self.key.kid}, header or {})
        return compact(head, filled(defaults, claims), self.key)

    def answer_to(self, path: str) -> Answer:
        """What one GET is answered."""
        if path != "/jwks":
            return Answer(404)
        with self._count:
            self.hits += 1
        if self.answer is not None:
            if self.answer.after is not None:
                self.answer.after.wait(10)
            return self.answer if self.answer.body or self.answer.status != 200 else self._keys()
        return self._keys()

    def _keys(self) -> Answer:
        return Answer(200, json.dumps({"keys": self.shown}).encode())


def _handler(issuer: LocalIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = issuer.answer_to(self.path)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object, **named: object) -> None:
            """Say nothing."""

    return Handler
