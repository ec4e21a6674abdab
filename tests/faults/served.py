"""The server as a process of its own, and a client that knows how to hang up."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3

from tests.faults.ground import NEEDED, READ, Ground, until_true
from valetkey.agentside.dpop import DpopKey
from valetkey.core.principal import Caller
from valetkey.identity.keys import SigningKeys
from valetkey.identity.tokens import AccessTokens


@dataclass
class Served:
    """A running `valetkey serve`; `log` is everything that it wrote."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log_file: Path
    signing: SigningKeys
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    @property
    def log(self) -> str:
        """What the process has written so far."""
        return self.log_file.read_text()

    def answers(self) -> bool:
        """True once it is ready."""
        try:
            return self.pool.request("GET", f"{self.url}/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def visitor(self, caller: Caller) -> Visitor:
        """A caller with a key and a token of ours."""
        key = DpopKey.new()
        now = datetime.now(UTC).replace(microsecond=0)
        known = replace(
            caller,
            jkt=key.thumbprint,
            expires_at=now + timedelta(seconds=290),
            token_id=secrets.token_hex(8),
        )
        return Visitor(self, key, AccessTokens(self.url, self.signing).issue(known, now))


@dataclass
class Visitor:
    """Somebody who calls the server."""

    served: Served
    key: DpopKey
    token: str

    def headers(self, method: str, path: str) -> dict[str, str]:
        """What authenticates one call."""
        proof = self.key.make_proof(method, self.served.url + path, self.token)
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}

    def call(self, method: str, path: str, body: object = None, **more: str) -> tuple[int, Any]:
        """Status and JSON of one call."""
        headers = {**self.headers(method, path), **{k.replace("_", "-"): v for k, v in more.items()}}
        raw = None if body is None else json.dumps(body).encode()
        if raw is not None:
            headers["Content-Type"] = "application/json"
        answer = self.served.pool.request(
            method, self.served.url + path, body=raw, headers=headers, timeout=30
        )
        return answer.status, json.loads(answer.data) if answer.data else None

    def start(self) -> str:
        """Start a task; its id."""
        plan = {"purpose": "a refund", "scopes": list(NEEDED), "ttl": 600}
        status, task = self.call("POST", "/v1/tasks", plan)
        assert status == 201, task
        return str(task["id"])

    def ask(self, task: str, scope: str = READ, ttl: int = 60) -> tuple[int, Any]:
        """Ask for a credential."""
        body = {"task": task, "scope": scope, "ttl": ttl, "reason": "because"}
        return self.call("POST", "/v1/credentials", body, Idempotency_Key=secrets.token_hex(8))

    def hang_up(
        self,
        task: str,
        after: float,
        scope: str = READ,
        begun: Callable[[], bool] = lambda: True,
    ) -> None:
        """Ask, and close the connection so many seconds after the request was sent and has begun.

        Who leaves before the server has read the request has asked for nothing.
        """
        body = json.dumps({"task": task, "scope": scope, "ttl": 60, "reason": "because"})
        lines = [
            "POST /v1/credentials HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Idempotency-Key: {secrets.token_hex(8)}",
            *(f"{k}: {v}" for k, v in self.headers("POST", "/v1/credentials").items()),
        ]
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=10) as line:
            line.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            until_true(begun, 20)
            threading.Event().wait(after)  # the moment is chance: that is the point


@contextmanager
def serving(ground: Ground, **environment: str) -> Iterator[Served]:
    """`valetkey serve` on the ground, ready; stopped with SIGTERM afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    log_file = ground.folder / f"serve-{port}.log"
    env = {
        **os.environ,
        **environment,
        "VALETKEY_EXTERNAL_URL": url,
        "VALETKEY_SERVER__PORT": str(port),
    }
    argv = [sys.executable, "-m", "valetkey.cli", "serve", "--config", str(ground.config)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=subprocess.STDOUT)
    signing = SigningKeys.load(ground.folder / "signing.pem")
    served = Served(url, port, process, log_file, signing)
    try:
        until_true(lambda: served.answers() or process.poll() is not None, 60, lambda: served.log)
        assert process.poll() is None, served.log
        yield served
    finally:
        served.pool.clear()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
