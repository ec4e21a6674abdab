"""Agents that ask, use, end, forget, hang up and leak, and keep every secret they received."""

from __future__ import annotations

import json
import random
import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import urllib3

from tests.faults.ground import NEEDED, READ, WRITE, Ground
from tests.faults.served import Served, Visitor
from tests.soak.replicas import Replicas
from valetkey.agentside.dpop import DpopKey
from valetkey.core.principal import Caller
from valetkey.identity.tokens import AccessTokens

TOKEN = "reports-api:export{report=daily}"
ENDINGS = ("end", "end", "end", "forget", "leak", "revoke")


@dataclass
class Heard:
    """What all clients heard together."""

    secrets: list[Mapping[str, Any]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)


@dataclass
class Client:
    """One agent with one key; a story of it may begin at one replica and end at another."""

    ground: Ground
    replicas: Replicas
    bot: Caller
    chance: random.Random
    heard: Heard
    key: DpopKey = field(default_factory=DpopKey.new)
    sessions: list[psycopg.Connection[Any]] = field(default_factory=list)

    def work(self, done: threading.Event) -> None:
        """One story after the other."""
        while not done.wait(self.chance.random() / 5):
            try:
                self._story()
            except (urllib3.exceptions.HTTPError, json.JSONDecodeError, LookupError):
                self.heard.codes["lost"] += 1
                done.wait(0.2)
        for session in self.sessions:
            session.close()

    def _story(self) -> None:
        plan = {"purpose": "soak", "scopes": list(NEEDED), "ttl": self.chance.randrange(10, 60)}
        status, task = self._call("POST", "/v1/tasks", plan)
        if status != 201:
            return
        given = [one for _ in range(self.chance.randrange(1, 4)) if (one := self._ask(task["id"]))]
        if self.chance.random() < 0.2:
            self._visitor().hang_up(task["id"], self.chance.random() / 10)
        ending = self.chance.choice(ENDINGS)
        if ending == "end":
            self._call("POST", f"/v1/tasks/{task['id']}/end", {})
        elif given and ending == "leak":
            self._call("POST", "/v1/leaks", {"value": _value(given[0]["credential"])})
        elif given and ending == "revoke":
            self._call("POST", f"/v1/leases/{given[0]['lease']['id']}/revoke", {})

    def _ask(self, task: str) -> dict[str, Any] | None:
        scope, ttl = self.chance.choice((READ, READ, WRITE, TOKEN)), self.chance.randrange(5, 40)
        body = {"task": task, "scope": scope, "ttl": ttl, "reason": "because"}
        key = secrets.token_hex(8)
        status, answer = self._call("POST", "/v1/credentials", body, Idempotency_Key=key)
        if status != 201:
            return None
        self.heard.secrets.append(answer["credential"])
        if "username" in answer["credential"] and self.chance.random() < 0.3:
            self._use(answer["credential"])
        return dict(answer)

    def _use(self, secret: Mapping[str, Any]) -> None:
        """Open a session and keep it, as one does who forgets to close."""
        with suppress(psycopg.Error):
            self.sessions.append(self.ground.connect(secret))
        while len(self.sessions) > 4:
            self.sessions.pop(0).close()

    def _call(self, method: str, path: str, body: object, **more: str) -> tuple[int, Any]:
        status, answer = self._visitor().call(method, path, body, **more)
        self.heard.codes[answer.get("code", str(status)) if status >= 400 else str(status)] += 1
        return status, answer

    def _visitor(self) -> Visitor:
        served = self.replicas.any(self.chance)
        if served is None:
            raise LookupError("nobody is up")
        return visitor(served, self.bot, self.key)


def visitor(served: Served, bot: Caller, key: DpopKey) -> Visitor:
    """The same agent with the same key, at any replica."""
    now = datetime.now(UTC).replace(microsecond=0)
    until = now + timedelta(seconds=290)
    known = replace(
        bot, jkt=key.thumbprint, expires_at=until, token_id=secrets.token_hex(8)
    )
    return Visitor(served, key, AccessTokens(served.url, served.signing).issue(known, now))


def _value(credential: Mapping[str, Any]) -> str:
    return str(credential.get("password") or credential["token"])
