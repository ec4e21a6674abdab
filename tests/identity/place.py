"""One installation as identity sees it: issuers with real keys, an agent, rules and people."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from joserfc.jwk import ECKey

from valetkey.core.principal import Caller
from valetkey.core.trust import (
    Allowance,
    GroupMap,
    IssuerRecord,
    ResourceServer,
    TrustRule,
)
from valetkey.identity.authenticator import Authenticator, Behind, Registered
from valetkey.identity.bindings import AgentIdentity
from valetkey.identity.exchange import Exchanged
from valetkey.identity.keys import SigningKeys
from valetkey.identity.nonces import Nonces
from valetkey.testing.issuer import Key, LocalIssuer, compact, dpop_proof, filled, public_jwk
from valetkey.testing.replay import FixedBindings, MemoryUses, VariableTime

US = "https://valetkey.example.com"
TOKEN_URL = f"{US}/oauth2/token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BOT = "system:serviceaccount:refunds:refund-bot"

GITHUB = {
    "sub": "repo:acme@1001/refunds@2002:environment:production",
    "repository": "acme/refunds",
    "repository_id": "2002",
    "repository_owner_id": "1001",
    "environment": "production",
    "ref": "refs/heads/main",
    "ref_type": "branch",
    "event_name": "push",
    "runner_environment": "github-hosted",
}
MATCH = {
    "repository_id": "2002",
    "repository_owner_id": "1001",
    "environment": "production",
    "event_name": "push",
}
ALLOWS = Allowance("refund-", frozenset({"olivia@example.com"}), frozenset({"refunds"}))


def ec_key() -> ECKey:
    """A fresh P-256 key."""
    return ECKey.generate_key("P-256")


@dataclass
class Place:
    """Everything one test of identity needs."""

    workloads: LocalIssuer
    github: LocalIssuer
    people: LocalIssuer
    time: VariableTime = field(default_factory=VariableTime)
    uses: MemoryUses = field(default_factory=MemoryUses)
    bindings: FixedBindings = field(default_factory=FixedBindings)
    keys: SigningKeys = field(default_factory=SigningKeys.generate)
    server_key: ECKey = field(default_factory=ec_key)
    dpop_key: ECKey = field(default_factory=ec_key)
    changes: dict[str, object] = field(default_factory=dict)
    people_changes: dict[str, object] = field(default_factory=dict)
    lets_act: set[tuple[str, str]] = field(default_factory=set)
    nonces: Nonces | None = None
    told: list[Exchanged] = field(default_factory=list)

    @classmethod
    def opened(cls, stack: ExitStack) -> Place:
        """A place with its three issuers running."""
        workloads, github, people = (stack.enter_context(LocalIssuer()) for _ in range(3))
        place = cls(workloads, github, people)
        bot = AgentIdentity("agent_bot", "refund-bot", "binding_1")
        place.bindings.listed.append(("workloads", {"sub": BOT}, bot))
        return place

    def record(self, **changes: object) -> IssuerRecord:
        """The record of the workload issuer, with changes."""
        defaults: dict[str, object] = {
            "name": "workloads",
            "issuer": self.workloads.url,
            "kind": "workload",
            "audience": US,
            "algorithms": frozenset({"ES256"}),
            "jwks_uri": self.workloads.jwks_uri,
        }
        return IssuerRecord(**filled(defaults, changes))  # type: ignore[arg-type]

    def registered(self) -> Registered:
        """What is registered here."""
        github = self.record(
            name="github", issuer=self.github.url, kind="ci", jwks_uri=self.github.jwks_uri
        )
        people = self.record(
            name="people",
            issuer=self.people.url,
            kind="people",
            audience="valetkey-cli",
            jwks_uri=self.people.jwks_uri,
            **{"replay": "reusable_until_exp", **self.people_changes},
        )
        server_jwk = {**public_jwk(self.server_key), "kid": "server-1"}
        return Registered(
            issuers=(self.record(**self.changes), github, people),
            rules=(TrustRule("refunds-ci", "github", MATCH, ALLOWS),),
            groups=GroupMap({"ops": frozenset({"operator"}), "sec": frozenset({"approver"})}),
            resource_servers=(ResourceServer("orders-api", US, {"keys": [server_jwk]}),),
        )

    def replica(self) -> Authenticator:
        """A replica: its own authenticator over the shared keys, store and time."""
        behind = Behind(
            self.uses,
            self.bindings,
            self.time.now,
            self.told.append,
            nonces=self.nonces,
            lets_act=lambda *asked: asked in self.lets_act,
        )
        return Authenticator(US, self.keys, self.registered(), behind)

    @property
    def now(self) -> float:
        """The time in seconds since 1970."""
        return self.time.at.timestamp()

    def bot(self, header: Mapping[str, object] | None = None, /, **claims: object) -> str:
        """The agent's platform proof, with changes."""
        return self.workloads.sign(self.now, {"sub": BOT, "aud": US, **claims}, header)

    def job(self, **claims: object) -> str:
        """A GitHub-shaped CI token, with changes."""
        return self.github.sign(self.now, {**GITHUB, "aud": US, **claims})

    def login(self, **claims: object) -> str:
        """A person's ID token, with changes."""
        olivia: dict[str, object] = {
            "sub": "olivia",
            "aud": "valetkey-cli",
            "auth_time": int(self.now) - 5,
            "email": "olivia@example.com",
            "email_verified": True,
            "groups": ["ops", "chess-club"],
        }
        return self.people.sign(self.now, {**olivia, **claims})

    def form(self, token: str, kind: str = JWT, **changes: str) -> dict[str, str]:
        """The token exchange form for a proof."""
        defaults = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": kind,
        }
        return {**defaults, **changes}

    def dpop(
        self,
        method: str,
        url: str,
        claims: Mapping[str, object] | None = None,
        key: Key | None = None,
        **header: object,
    ) -> str:
        """A DPoP proof of the agent's key, with changes."""
        said = {"htm": method, "htu": url, **(claims or {})}
        return dpop_proof(key or self.dpop_key, self.now, said, **header)

    def exchange(self, form: Mapping[str, str], key: Key | None = None) -> dict[str, object]:
        """Exchange with a good DPoP proof at a fresh replica."""
        proof = self.dpop("POST", TOKEN_URL, key=key)
        return dict(self.replica().exchange(form, [proof], TOKEN_URL))

    def token(self) -> str:
        """A token of ours for the agent."""
        return str(self.exchange(self.form(self.bot()))["access_token"])

    def call(self, token: str, **changes: object) -> Caller:
        """GET /v1/tasks with this token at a fresh replica, the proof changed by `changes`."""
        url = f"{US}/v1/tasks"
        proof = self.dpop("GET", url, {"token": token, **changes})
        return self.replica().authenticate([f"DPoP {token}"], [proof], "GET", url)

    def assertion(self, header: Mapping[str, object] | None = None, **claims: object) -> str:
        """The resource server's client assertion, with changes."""
        said: dict[str, object] = {
            "iss": "orders-api",
            "sub": "orders-api",
            "aud": US,
            "iat": int(self.now),
            "exp": int(self.now) + 60,
            "jti": str(len(self.uses.kept_until())),
        }
        head = {"typ": "client-authentication+jwt", "alg": "ES256", "kid": "server-1"}
        return compact(filled(head, header or {}), filled(said, claims), self.server_key)
