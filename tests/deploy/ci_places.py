"""A broker on loopback that knows a GitHub and a GitLab, and CI jobs that run what the files say."""

from __future__ import annotations

import json
import socket
import subprocess
import sysconfig
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn

from tests.identity.test_github_actions import GOOD as GITHUB
from tests.identity.test_github_actions import PINS as GITHUB_PINS
from tests.identity.test_gitlab import GOOD as GITLAB
from tests.identity.test_gitlab import PINS as GITLAB_PINS
from valetkey.core.scope import Scope
from valetkey.core.trust import Allowance, GroupMap, IssuerRecord, TrustRule
from valetkey.identity.authenticator import Authenticator, Behind, Registered
from valetkey.identity.bindings import StoredBindings
from valetkey.identity.keys import SigningKeys
from valetkey.identity.platforms import PROFILES
from valetkey.testing.brokers import Stage
from valetkey.testing.issuer import LocalIssuer
from valetkey.testing.memory_store import MemoryStore
from valetkey.web.app import create_app
from valetkey.web.doors import Doors
from valetkey.web.operations import Watch

BIN = sysconfig.get_path("scripts")
REQUEST_TOKEN = "request"
ALLOWS = Allowance(
    name_prefix="refund-",
    owners=frozenset({"olivia@example.com"}),
    teams=frozenset({"refunds"}),
    ceiling=(Scope("orders-db", "read"),),
    may_bind=frozenset({"workloads"}),
)
PLATFORMS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "github-actions": (dict(GITHUB), GITHUB_PINS),
    "gitlab": (dict(GITLAB), GITLAB_PINS),
}


class RealTimeStore(MemoryStore):
    """A store in memory whose clock is the real one, as real clients have it."""

    @property
    def time(self) -> datetime:
        """Now."""
        return datetime.now(UTC)

    @time.setter
    def time(self, at: datetime) -> None:
        """It cannot be set."""


@dataclass(frozen=True)
class Ran:
    """How a job's script ended."""

    code: int
    out: str
    err: str


class Place:
    """One broker; `platform` is whose jobs its trust rule lets in."""

    def __init__(
        self, stack: ExitStack, platform: str, stage: Stage | None = None, **rule: Any
    ) -> None:
        self.platform = platform
        self.good, pins = PLATFORMS[platform]
        self.issuer = stack.enter_context(LocalIssuer())
        self.rule = TrustRule("jobs", "platform", pins, ALLOWS, **rule)
        self.stage = stage or Stage(RealTimeStore())
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = uvicorn.Config(self._app(), log_level="critical")
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        stack.callback(thread.join, 30)
        stack.callback(setattr, server, "should_exit", True)
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.tokens = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), self._giving()))
        giving = threading.Thread(target=self.tokens.serve_forever, args=(0.02,))
        giving.start()
        stack.callback(giving.join, 30)
        stack.callback(self.tokens.shutdown)

    def job(self, script: str, folder: Path, **claims: object) -> Ran:
        """Run a script as a job of the platform does, in a checkout, with an identity of its own."""
        self.claims = {**self.good, **claims}
        home = {"HOME": str(folder), "PATH": f"{BIN}:/usr/bin:/bin", "VALETKEY_URL": self.url}
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=folder,
            env=home | self._identity(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def token(self, audience: str) -> str:
        """The platform's token of the job that runs."""
        return self.issuer.sign(time.time(), {**self.claims, "aud": audience})

    def _identity(self) -> dict[str, str]:
        if self.platform == "gitlab":
            return {"VALETKEY_ID_TOKEN": self.token(self.url)}
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{self.tokens.server_port}/?v=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        }

    def _giving(self) -> type[BaseHTTPRequestHandler]:
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.headers["Authorization"] == f"Bearer {REQUEST_TOKEN}"
                audience = parse_qs(urlsplit(self.path).query).get("audience", [""])[0]
                body = json.dumps({"value": place.token(audience)} if known else {}).encode()
                self.send_response(200 if known else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler

    def _app(self) -> Any:
        store, keys = self.stage.broker.store, SigningKeys.generate()
        registered = Registered((self._record(),), (self.rule,), GroupMap({}))
        behind = Behind(store, StoredBindings(store), store.now)
        authenticator = Authenticator(self.url, keys, registered, behind)
        doors = Doors(self.url, {self.rule.name: self.rule})
        return create_app(self.stage.broker, authenticator, doors, Watch(list, dict))

    def _record(self) -> IssuerRecord:
        usual = PROFILES[self.platform].habits  # type: ignore[index]
        return IssuerRecord(
            name="platform",
            issuer=self.issuer.url,
            kind="ci",
            audience=self.url,
            algorithms=frozenset({"ES256"}),
            jwks_uri=self.issuer.jwks_uri,
            typ=usual.typ,
            max_age=usual.max_age,
            max_life=usual.max_life,
            replay=usual.replay,
            platform=self.platform,  # type: ignore[arg-type]
        )
