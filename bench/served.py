"""The broker's side: one `valetkey serve` process, spoken to over HTTP with a proof each time."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
import urllib3
import uuid6

from bench.ground import ISSUER, SCOPES, TTL, Ground
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import Proof, ProofSource
from valetkey.agentside.session import Session
from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.ids import encode_id
from valetkey.core.scope import Scope
from valetkey.devstack.workload import workload_token
from valetkey.store.sql_store import open_store

SUBJECT = "system:serviceaccount:refunds:refund-bot"
UNENDED = "SELECT count(*) FROM leases WHERE state <> 'ended'"


class Place(Protocol):
    """Where a broker's files are, and its address."""

    @property
    def folder(self) -> Path:
        """The folder of them all."""

    @property
    def url(self) -> str:
        """Where the broker answers."""

    def config(self, catalogue: str) -> Path:
        """A settings file by its name."""


class Server:
    """A context: one broker process with the settings of one catalogue."""

    def __init__(self, ground: Place, catalogue: str, program: tuple[str, ...] = ()) -> None:
        """`program` takes the place of `valetkey serve`; it is given the settings file."""
        self._ground, self._config = ground, ground.config(catalogue)
        self._program = program or ("valetkey.cli", "serve", "--config")

    def __enter__(self) -> Server:
        provide_agent(self._ground)
        command = [sys.executable, "-m", *self._program, str(self._config)]
        self._log = (self._ground.folder / "serve.log").open("ab")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        until = time.monotonic() + 20
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise RuntimeError((self._ground.folder / "serve.log").read_text()[-2000:])
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self._log.close()

    def memory(self) -> tuple[int, int]:
        """Resident memory now and at its highest, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        values = {line.split(":")[0]: line.split()[1] for line in status if "kB" in line}
        return int(values["VmRSS"]) // 1024, int(values["VmHWM"]) // 1024

    def processor(self) -> float:
        """Seconds of processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ready(self) -> bool:
        try:
            answer = urllib3.request("GET", f"{self._ground.url}/readyz", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200


def where(ground: Ground) -> dict[str, str]:
    """What a served client needs."""
    token_file = ground.stack.folder.root / "issuer" / "refund-bot.request-token"
    return {
        "url": ground.url,
        "issuer": ground.stack.issuer_url,
        "request_token_file": str(token_file),
        "database": ground.stack.superuser_dsn("valetkey"),
    }


class Served:
    """Clients of the running server; `target` is what they ask for."""

    def __init__(self, where: Mapping[str, str], target: str) -> None:
        self._where, self._scope = where, SCOPES[target]
        self._key = DpopKey.new()
        self._session = Session(where["url"], self._key, ProofSource("bench", self._proof))

    def client(self) -> _Agent:
        """A client with a task and a connection of its own."""
        bare = self._scope.partition("{")[0]
        body = {"purpose": "to be timed", "scopes": [bare], "ttl": 3600}
        task = self._session.send("POST", "/v1/tasks", json=body).body["id"]
        ask = {"task": task, "scope": self._scope, "ttl": int(TTL.total_seconds())}
        return _Agent(self._where["url"], self._key, self._session.access_token(), ask)

    def settle(self, within: float = 60.0) -> int:
        """Wait until every lease is ended, `within` seconds at most; how many are left."""
        until = time.monotonic() + within
        with psycopg.connect(self._where["database"], autocommit=True) as connection:
            while True:
                left = int(connection.execute(UNENDED).fetchone()[0])  # type: ignore[index]
                if not left or time.monotonic() > until:
                    return left
                time.sleep(0.02)

    def _proof(self) -> Proof:
        request_token = Path(self._where["request_token_file"]).read_text().strip()
        return Proof(workload_token(self._where["issuer"], request_token, self._where["url"]))


class _Agent:
    """One agent's connection; every request carries its token and a fresh proof."""

    def __init__(self, url: str, key: DpopKey, token: str, ask: Mapping[str, object]) -> None:
        self._url, self._key, self._token = url, key, token
        self._task, self._ask = ask, json.dumps(ask)
        parts = urlsplit(url)
        self._wire = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def again(self) -> _Agent:
        """Another connection for the same task."""
        return _Agent(self._url, self._key, self._token, self._task)

    def end_task(self) -> None:
        """End the task, and with it all that was minted for it."""
        self._post(f"/v1/tasks/{self._task['task']}/end")

    def mint(self) -> str:
        key = {"Idempotency-Key": str(uuid6.uuid7())}
        return str(self._post("/v1/credentials", self._ask, key)["lease"]["id"])

    def end(self, name: str) -> None:
        self._post(f"/v1/leases/{name}/revoke")

    def _post(
        self, path: str, body: str | None = None, also: Mapping[str, str] | None = None
    ) -> dict[str, dict[str, str]]:
        headers = {
            "Authorization": f"DPoP {self._token}",
            "DPoP": self._key.make_proof("POST", self._url + path, self._token),
            "Content-Type": "application/json",
            **(also or {}),
        }
        self._wire.request("POST", path, body=body, headers=headers)
        answer = self._wire.getresponse()
        content: dict[str, dict[str, str]] = json.loads(answer.read())
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status} {content.get('code')} {content.get('detail')}")
        return content


def provide_agent(ground: Place) -> None:
    """The bench's agent, accepted and bound to the sample workload; made once."""
    store = open_store((ground.folder / "app.url").read_text())
    with store.transaction() as tx:
        if tx.agent_named("bench-bot") is None:
            now = tx.now()
            agent = Agent(
                id=encode_id("agent", uuid6.uuid7().bytes),
                name="bench-bot",
                owner="olivia@example.com",
                team="refunds",
                environment="production",
                labels={},
                boundary=tuple(Scope.parse(text.partition("{")[0]) for text in SCOPES.values()),
                state=AgentState.ACCEPTED,
                created_by="bench",
                created_by_rule=None,
                created_at=now,
                accepted_at=now,
            )
            tx.add_agent(agent)
            name, claims = encode_id("binding", uuid6.uuid7().bytes), (("sub", SUBJECT),)
            tx.add_binding(Binding(name, agent.id, ISSUER, claims, "bench", now))
    store.close()
