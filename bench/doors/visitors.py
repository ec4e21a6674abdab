"""Who knocks: an agent with its platform's proof and its own key, and a resource server.

Requests are made before a round begins, so that it measures answering and not the asking.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import uuid6
from joserfc.jwk import ECKey

from bench.doors.ground import PLATFORM, SERVER, Doorstep
from bench.ground import SCOPES, TOKENS
from bench.load import run
from bench.served import SUBJECT
from bench.worker import Worker
from valetkey.agentside.dpop import DpopKey
from valetkey.testing.issuer import compact

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
FORM = "application/x-www-form-urlencoded"
AHEAD: Mapping[str, int] = {"exchange": 600, "ask": 300, "ask unproven": 300, "introspect": 2500}
"""Requests for each second of a round that are made before it; further ones are made in it."""


class Wire:
    """One kept connection; as little as can be, for clients share the machine with the broker."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, path: str, body: str, headers: Mapping[str, str]) -> bytes:
        """A POST as it goes over the wire."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()

    def send(self, request: bytes) -> bytes:
        """The body of the answer; raises RuntimeError for one that is not 2xx."""
        self._socket.sendall(request)
        read = b""
        while b"\r\n\r\n" not in read:
            read += self._more()
        head, _, body = read.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        while len(body) < length:
            body += self._more()
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(head.split(b"\r\n", 1)[0].decode())
        return body

    def _more(self) -> bytes:
        read = self._socket.recv(65536)
        if not read:
            raise RuntimeError("hung up on")
        return read


class Visitors:
    """All that knock at one broker; a side of `bench.load`, for one kind of request at a time."""

    def __init__(self, where: Mapping[str, str]) -> None:
        kept = json.loads(Path(where["keys"]).read_text())
        self._url = where["url"]
        self._platform, self._server = (ECKey.import_key(kept[x]) for x in ("platform", "server"))
        self._key = DpopKey.new()
        self._wire = Wire(self._url)
        self._proven = self._workload_token()
        self._token = self._answer("/oauth2/token", *self.exchange())["access_token"]
        self._task = ""
        self._credential = ""
        self._made: dict[str, Callable[[], tuple[str, Mapping[str, str]]]] = {
            "exchange": self.exchange,
            "ask": self.ask,
            "ask unproven": lambda: self.ask(proven=False),
            "introspect": self.introspect,
        }

    def ready(self, door: str, clients: int, seconds: float) -> Knocking:
        """The side whose clients knock at one door."""
        self._task = self._start()
        if door == "introspect":
            issued = self._answer("/v1/credentials", *self.ask())
            self._credential = issued["credential"]["token"]
        many = int(AHEAD[door] * seconds / clients) + 1
        return Knocking(self._url, PATHS[door], self._made[door], many)

    def clear(self) -> None:
        """End the task, and wait for the end of every credential of the round."""
        path, status = f"/v1/tasks/{self._task}/end", ""
        while status != "complete":
            status = self._answer(path, "", self._proof(path))["status"]

    def exchange(self) -> tuple[str, Mapping[str, str]]:
        """A platform's token for one of ours, bound to the visitor's key."""
        form = {
            "grant_type": EXCHANGE,
            "subject_token": self._proven,
            "subject_token_type": JWT,
        }
        proof = self._key.make_proof("POST", self._url + "/oauth2/token")
        return urlencode(form), {"Content-Type": FORM, "DPoP": proof}

    def ask(self, *, proven: bool = True) -> tuple[str, Mapping[str, str]]:
        """A credential that the broker signs itself, for five minutes."""
        ask = {"task": self._task, "scope": SCOPES[TOKENS], "ttl": 300}
        headers = self._proof("/v1/credentials") if proven else self._bearing()
        return json.dumps(ask), {**headers, "Idempotency-Key": str(uuid6.uuid7())}

    def introspect(self) -> tuple[str, Mapping[str, str]]:
        """Whether that credential is still good, asked by the server that it is for."""
        now = int(time.time())
        claims = {"iss": SERVER, "sub": SERVER, "aud": self._url, "iat": now, "exp": now + 120}
        claims["jti"] = secrets.token_urlsafe(12)
        head = {"alg": "ES256", "kid": self._server.kid, "typ": "client-authentication+jwt"}
        signed = compact(head, claims, self._server)
        form = {"client_assertion_type": ASSERTION, "client_assertion": signed}
        return urlencode({**form, "token": self._credential}), {"Content-Type": FORM}

    def _start(self) -> str:
        scope = SCOPES[TOKENS].partition("{")[0]
        body = json.dumps({"purpose": "to be timed", "scopes": [scope], "ttl": 3600})
        return str(self._answer("/v1/tasks", body, self._proof("/v1/tasks"))["id"])

    def _proof(self, path: str) -> dict[str, str]:
        proof = self._key.make_proof("POST", self._url + path, self._token)
        return {**self._bearing(), "DPoP": proof}

    def _bearing(self) -> dict[str, str]:
        return {"Authorization": f"DPoP {self._token}", "Content-Type": "application/json"}

    def _workload_token(self) -> str:
        now = int(time.time())
        head = {"alg": "ES256", "kid": self._platform.kid, "typ": "JWT"}
        claims = {"iss": PLATFORM, "sub": SUBJECT, "aud": self._url, "iat": now, "exp": now + 3600}
        claims["jti"] = secrets.token_urlsafe(12)
        return compact(head, claims, self._platform)

    def _answer(self, path: str, body: str, headers: Mapping[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self._wire.send(self._wire.request(path, body, headers))
        )
        return answer


PATHS = {
    "exchange": "/oauth2/token",
    "ask": "/v1/credentials",
    "ask unproven": "/v1/credentials",
    "introspect": "/oauth2/introspect",
}


class Knocking:
    """One kind of request, made ahead for each client."""

    def __init__(
        self, url: str, path: str, made: Callable[[], tuple[str, Mapping[str, str]]], many: int
    ) -> None:
        self._url, self._path, self._made, self._many = url, path, made, many

    def client(self) -> _Knocker:
        """A connection of its own, with its requests."""
        wire = Wire(self._url)
        requests = (wire.request(self._path, *self._made()) for _ in repeat(None))
        return _Knocker(wire, requests, self._many)

    def settle(self) -> int:
        """Nothing is waited for: what was given is ended after the round."""
        return 0


class _Knocker:
    def __init__(self, wire: Wire, requests: Iterator[bytes], many: int) -> None:
        self._wire, self._requests = wire, requests
        self._ahead = list(islice(requests, many))

    def mint(self) -> str:
        self._wire.send(self._ahead.pop() if self._ahead else next(self._requests))
        return ""

    def end(self, name: str) -> None:
        pass


class Visiting(Worker):
    """A process of visitors; each round names its `door`, and is followed by a rest."""

    def __init__(self, ground: Doorstep) -> None:
        where = {"url": ground.url, "keys": str(ground.keys)}
        super().__init__("visitors", "", where, "bench.doors.visitors")

    def rest(self) -> None:
        """Have everything ended that was given in the last round."""
        self.asked(rest=True)


def main() -> None:
    """Serve rounds and rests until the input ends, as `bench.worker` does."""
    visitors = Visitors(json.loads(sys.argv[3]))
    for line in sys.stdin:
        wanted = json.loads(line)
        if "rest" in wanted:
            visitors.clear()
            print("{}", flush=True)
        else:
            side = visitors.ready(**wanted)
            found = run(side, wanted["clients"], wanted["seconds"])
            print(json.dumps(found.plain()), flush=True)


if __name__ == "__main__":
    main()
