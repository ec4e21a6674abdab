"""The hall: a broker on a stage behind the real application, and visitors with real keys."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from joserfc.jwk import ECKey
from starlette.testclient import TestClient

from valetkey.core.facts import FactKind, HistoryQuery, RecordedFact
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.core.trust import Allowance, GroupMap, IssuerRecord, ResourceServer, TrustRule
from valetkey.flows.on_behalf import lets_act
from valetkey.identity.authenticator import Authenticator, Behind, Registered
from valetkey.identity.bindings import StoredBindings
from valetkey.identity.keys import OurKeys, SigningKeys
from valetkey.identity.nonces import Nonces
from valetkey.identity.tokens import AccessTokens
from valetkey.ports import Store, Trouble
from valetkey.testing.brokers import Stage
from valetkey.testing.issuer import LocalIssuer, dpop_proof, public_jwk
from valetkey.web.app import create_app
from valetkey.web.doors import Doors
from valetkey.web.operations import Watch

US = "https://valetkey.example.com"
FOR_AGENTS = "valetkey-agents"
"""The audience of tokens that people pass on."""
SCOPE = "orders-db:read{region=eu}"
GITHUB = {"repository_id": "2002", "repository_owner_id": "1001", "environment": "production"}
RULE = TrustRule(
    "refunds-ci",
    "github",
    GITHUB,
    Allowance(
        "refund-",
        frozenset({"olivia@example.com"}),
        frozenset({"refunds"}),
        {"environment": frozenset({"production"})},
        (Scope("orders-db", "read"), Scope("orders-db", "write")),
        frozenset({"workloads", "client-key"}),
    ),
)


@dataclass
class Health:
    """Readiness as a variable."""

    reasons: list[Trouble] = field(default_factory=list)


class Visitor:
    """Somebody with a key and a token of ours."""

    def __init__(self, hall: Hall, caller: Caller, key: ECKey) -> None:
        self.hall, self.key = hall, key
        self.caller = replace(caller, jkt=key.thumbprint())
        now = hall.stage.broker.store.now()
        known = replace(self.caller, expires_at=now.replace(microsecond=0) + timedelta(seconds=290))
        self.token = AccessTokens(hall.url, hall.keys).issue(known, now)

    def proof(self, method: str, path: str, **claims: object) -> str:
        """A DPoP proof for one call."""
        said = {"htm": method, "htu": self.hall.url + path, "token": self.token, **claims}
        return dpop_proof(self.key, self.hall.stage.broker.store.now().timestamp(), said)

    def headers(self, method: str, path: str) -> dict[str, str]:
        """What authenticates one call."""
        proof = self.proof(method, path.partition("?")[0])
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """One call; `body` is JSON to be, or raw bytes; headers with `_` for `-`."""
        sent = {
            **self.headers(method, path),
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        if body is None:
            return self.hall.client.request(method, path, headers=sent)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
        return self.hall.client.request(method, path, content=raw, headers=sent)

    def get(self, path: str) -> Any:
        """A GET that must succeed, as JSON."""
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, *scopes: str, ttl: int = 3600) -> Any:
        """Start a task, as JSON."""
        wanted = list(scopes) or ["orders-db:read", "orders-db:write", "orders-db:drop"]
        answer = self.call(
            "POST", "/v1/tasks", {"purpose": "a refund", "scopes": wanted, "ttl": ttl}
        )
        assert answer.status_code == 201, answer.text
        return answer.json()

    def ask(self, task: str, scope: str = SCOPE, key: str = "", **headers: str) -> Any:
        """Ask for a credential for five minutes."""
        body = {"task": task, "scope": scope, "ttl": 300, "reason": "because"}
        key = key or secrets.token_urlsafe(9)
        return self.call("POST", "/v1/credentials", body, Idempotency_Key=key, **headers)


class Hall:
    """An installation behind HTTP; a context manager is `opened`."""

    def __init__(
        self,
        stack: ExitStack,
        store: Store | None = None,
        nonces: Nonces | None = None,
        url: str = US,
        keys: OurKeys | None = None,
        *,
        stage: Stage | None = None,
        rule: TrustRule = RULE,
        **doors: Any,
    ) -> None:
        self.url = url
        self.stage = stage or Stage(store)
        self.rule = rule
        self.keys: OurKeys = keys or SigningKeys.generate()
        self.issuers = {
            name: stack.enter_context(LocalIssuer()) for name in ("workloads", "github", "people")
        }
        self.server_key = ECKey.generate_key("P-256")
        self.health = Health()
        self.counts: dict[str, float] = dict.fromkeys(("live", "overdue", "stuck"), 0.0)
        self.counts["oldest_unended_seconds"] = 0.0
        self.watch = Watch(lambda: self.health.reasons, lambda: self.counts)
        behind = Behind(
            self.stage.broker.store,
            StoredBindings(self.stage.broker.store),
            self.stage.broker.store.now,
            nonces=nonces,
            lets_act=lambda *asked: lets_act(self.stage.broker, *asked),
        )
        self.authenticator = Authenticator(url, self.keys, self._registered(), behind)
        known = Doors(url, {rule.name: rule}, self.issuers["people"].url, "valetkey-cli", **doors)
        self.app = create_app(self.stage.broker, self.authenticator, known, self.watch)
        self.client = stack.enter_context(TestClient(self.app, base_url="http://elsewhere"))
        self.bot = self.visitor(self.stage.bot)
        self.stage.bot = self.bot.caller
        self.owner = self.visitor(self.stage.owner)
        self.approver = self.visitor(self.stage.approver)
        self.operator = self.visitor(self.stage.operator)
        job = Caller(
            kind="ci",
            principal=Principal("https://ci", "refunds"),
            jkt="",
            expires_at=self.stage.broker.store.now(),
            token_id="job",
            rule=rule.name,
        )
        self.job = self.visitor(job)

    def visitor(self, caller: Caller) -> Visitor:
        """A caller with a key of its own."""
        return Visitor(self, caller, ECKey.generate_key("P-256"))

    def fresh(self, person: Visitor, name: str) -> Visitor:
        """The same person after a login made for one object."""
        return self.visitor(self.stage.fresh(person.caller, name))

    def facts(self, **query: Any) -> list[RecordedFact]:
        """History, oldest first."""
        with self.stage.broker.store.transaction() as tx:
            return list(tx.history(HistoryQuery(limit=500, **query)))[::-1]

    def refusals(self) -> list[str]:
        """The codes of refusals on record that no other fact tells of."""
        return [
            entry.fact.outcome
            for entry in self.facts()
            if entry.fact.kind is FactKind.REQUEST_REFUSED
        ]

    def exchange(self, form: Mapping[str, str], key: ECKey, **headers: str) -> Any:
        """POST /oauth2/token with a good DPoP proof."""
        now = self.stage.broker.store.now().timestamp()
        proof = dpop_proof(key, now, {"htm": "POST", "htu": f"{self.url}/oauth2/token"})
        return self.client.post("/oauth2/token", data=form, headers={"DPoP": proof, **headers})

    def _registered(self) -> Registered:
        server_jwk = {**public_jwk(self.server_key), "kid": "server-1"}
        return Registered(
            issuers=(
                self._record("workloads", "workload"),
                self._record("github", "ci"),
                self._record("people", "people"),
            ),
            rules=(self.rule,),
            groups=GroupMap({"ops": frozenset({"operator"})}, frozenset({"approvers"})),
            resource_servers=(ResourceServer("orders-api", self.url, {"keys": [server_jwk]}),),
        )

    def _record(self, name: str, kind: Any) -> IssuerRecord:
        issuer = self.issuers[name]
        audience = "valetkey-cli" if kind == "people" else self.url
        return IssuerRecord(
            name,
            issuer.url,
            kind,
            audience,
            frozenset({"ES256"}),
            jwks_uri=issuer.jwks_uri,
            on_behalf_audience=FOR_AGENTS if kind == "people" else None,
        )
