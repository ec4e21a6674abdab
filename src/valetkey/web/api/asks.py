"""The bodies that `/v1` takes, and how they become core values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from valetkey.core.ask import Ask, life_of, ttl_of
from valetkey.core.errors import InvalidRequest
from valetkey.core.kill import Height
from valetkey.core.leak import LONGEST
from valetkey.core.rules import MOST_BYTES as MAX_TEXT
from valetkey.core.rules import MOST_FILES
from valetkey.core.scope import Scope
from valetkey.core.sealing import seal_to
from valetkey.flows.agents import NewAgent, NewBinding
from valetkey.flows.start_task import Plan
from valetkey.web.api.answers import KillHeight
from valetkey.web.bodies import Body
from valetkey.web.queries import AGENT, EMAIL, NAME, PRINCIPAL, path_id


def _pattern(form: str) -> StringConstraints:
    return StringConstraints(pattern=f"^(?:{form})$")


def _spoken(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing but space")
    return text


Ttl = Annotated[Any, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 43200})]
ScopeText = Annotated[str, StringConstraints(min_length=3, max_length=512)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Name = Annotated[str, _pattern(NAME)]
Email = Annotated[str, _pattern(EMAIL)]
LabelName = Annotated[str, _pattern(r"[a-z][a-z0-9_.-]{0,62}")]
LABEL_VALUE = r"[A-Za-z0-9][A-Za-z0-9_.@/-]{0,127}"
LabelValue = Annotated[str, _pattern(LABEL_VALUE)]
Said = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_spoken)]
Claims = Annotated[
    dict[
        Annotated[str, _pattern(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")],
        Annotated[str, _pattern(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")],
    ],
    Field(min_length=1, max_length=16),
]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=32)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
FileText = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Boundary = Annotated[list[ScopeText], Field(max_length=64)]


_PUBLIC_KEY = {
    "type": "object",
    "description": "A public JWK to seal the answer to: EC P-256 or OKP X25519.",
    "required": ["kty", "crv", "x"],
    "properties": {
        "kty": {"enum": ["EC", "OKP"]},
        "crv": {"enum": ["P-256", "X25519"]},
        "x": {"type": "string", "minLength": 43, "maxLength": 43},
        "y": {"type": "string", "minLength": 43, "maxLength": 43},
    },
}
PublicKey = Annotated[dict[str, Any], WithJsonSchema(_PUBLIC_KEY)]


class BindingAsk(Body):
    """A workload identity to be bound: a registered issuer and exact claim values."""

    issuer: Annotated[str, _pattern(r"[\x21-\x7e]{1,255}")]
    claims: Claims

    def value(self) -> NewBinding:
        """The same in core terms."""
        return NewBinding(self.issuer, tuple(sorted(self.claims.items())))


class AgentAsk(Body):
    """What a CI job wants an agent to be."""

    name: Name
    owner: Email
    team: Name
    labels: Labels = Field(default_factory=dict)
    boundary: Boundary
    bindings: Annotated[list[BindingAsk], Field(default_factory=list, max_length=16)]

    def value(self) -> NewAgent:
        """The same in core terms; raises InvalidRequest or InvalidParameter for a scope."""
        return NewAgent(
            name=self.name,
            owner=self.owner,
            team=self.team,
            labels=dict(self.labels),
            boundary=_scopes(self.boundary),
            bindings=tuple(binding.value() for binding in self.bindings),
        )


class PlanAsk(Body):
    """Everything that a job wants of agents, or a part of it."""

    agents: Annotated[list[AgentAsk], Field(max_length=64)]

    def value(self) -> list[NewAgent]:
        """The same in core terms; raises InvalidRequest when an agent is named twice."""
        if len({agent.name for agent in self.agents}) != len(self.agents):
            raise InvalidRequest("an agent is named twice")
        return [agent.value() for agent in self.agents]


class AgentChange(Body):
    """What is to change about an agent; what is absent stays."""

    team: Name | None = None
    labels: Labels | None = None
    boundary: Boundary | None = None

    def value(self) -> dict[str, object]:
        """The fields to replace."""
        changes: dict[str, object] = {}
        if self.team is not None:
            changes["team"] = self.team
        if self.labels is not None:
            changes["labels"] = dict(self.labels)
        if self.boundary is not None:
            changes["boundary"] = _scopes(self.boundary)
        return changes


class TaskAsk(Body):
    """A piece of work: why, what it may need, for how many seconds, and how often it beats.

    Under `parent` it is a child task; then `agent` may name who is to have it. `on_behalf_of` is
    the id of a delegation, for a task that has no parent.
    """

    purpose: Said
    scopes: Annotated[list[ScopeText], Field(min_length=1, max_length=64)]
    ttl: Ttl
    heartbeat: Annotated[int, Field(ge=1, le=3600)] | None = None
    parent: Id | None = None
    agent: Annotated[str, _pattern(NAME)] | None = None
    max_credentials: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    on_behalf_of: Id | None = None

    def value(self) -> Plan:
        """The same in core terms; raises InvalidTtl, InvalidRequest or InvalidParameter."""
        beat = timedelta(seconds=self.heartbeat) if self.heartbeat is not None else None
        if self.agent is not None and self.parent is None:
            raise InvalidRequest("only a child task is opened for another agent: name its parent")
        if self.on_behalf_of is not None and self.parent is not None:
            raise InvalidRequest("a child task acts for whom its parent acts")
        whose = path_id("delegation", self.on_behalf_of) if self.on_behalf_of else None
        lasts, scopes = ttl_of(self.ttl), _scopes(self.scopes)
        return Plan(self.purpose, scopes, lasts, beat, self.max_credentials, whose)


class DelegationAsk(Body):
    """What the calling person lets an agent (its name or id) do for them, for how many seconds."""

    agent: Annotated[str, _pattern(AGENT)]
    scopes: Annotated[list[ScopeText], Field(min_length=1, max_length=64)]
    ttl: Ttl

    def wanted(self) -> tuple[Scope, ...]:
        """The scopes; raises InvalidRequest or InvalidParameter."""
        return _scopes(self.scopes)

    def lasts(self) -> timedelta:
        """How long; raises InvalidTtl."""
        return ttl_of(self.ttl)


class Beat(Body):
    """A sign of life; `fence` is the one of the last answer."""

    fence: Annotated[int, Field(ge=1, le=2**53)]


class ExplainAsk(Body):
    """An ask that is only to be explained."""

    task: Id
    scope: ScopeText
    ttl: Ttl
    renewable_for: Ttl | None = None

    def value(self) -> Ask:
        """The same in core terms."""
        task, ttl = path_id("task", self.task), ttl_of(self.ttl)
        life = life_of(self.renewable_for, ttl)
        return Ask(task, Scope.parse(self.scope), ttl, "", "", life)


class CredentialAsk(Body):
    """One ask for a credential; `ttl` in seconds, and `renewable_for` with all renewals.

    With `seal_to`, a public JWK, it is answered only sealed to that key.
    """

    task: Id
    scope: ScopeText
    ttl: Ttl
    renewable_for: Ttl | None = None
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""
    seal_to: PublicKey | None = None

    def value(self, idempotency_key: str) -> Ask:
        """The same in core terms; raises NotFound, InvalidTtl, and what Scope and seal_to raise."""
        task, ttl = path_id("task", self.task), ttl_of(self.ttl)
        scope, life = Scope.parse(self.scope), life_of(self.renewable_for, ttl)
        key = seal_to(self.seal_to) if self.seal_to is not None else None
        return Ask(task, scope, ttl, self.reason, idempotency_key, life, key)


class WriteOffAsk(Body):
    """Why a stuck lease is given up, for whoever looks later."""

    reason: Said


class RulesAsk(Body):
    """Files of the rules, whole parts of them: every target, or every policy with its tests."""

    files: Annotated[
        dict[FileName, FileText], Field(min_length=1, max_length=MOST_FILES, repr=False)
    ]


class ReturnAsk(Body):
    """Why an earlier version of the rules is to be in force again."""

    reason: Said


class LeakAsk(Body):
    """A value that turned up where it should not; it is neither kept nor shown."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST), Field(repr=False)]


class Verdict(Body):
    """A yes to exactly what was shown."""

    shown_hash: Annotated[str, _pattern(r"[0-9a-f]{64}")]


SUBJECTS: Mapping[Height, str] = {
    Height.OWNER: EMAIL,
    Height.PERSON: rf"{EMAIL}|{PRINCIPAL}",
    Height.VENDOR: LABEL_VALUE,
    Height.ISSUER: r"[\x21-\x7e]{1,255}",
    Height.SCOPE: r"[\x21-\x7e]{3,512}",
}
"""The form of a kill's subject where it is no id or plain name."""


class KillAsk(Body):
    """A stop at some height; `subject` is empty for everything. A drill stops nothing."""

    height: KillHeight
    subject: Annotated[str, _pattern(rf"[\x21-\x7e]{{0,512}}|{PRINCIPAL}")] = ""
    reason: Said
    drill: bool = False

    def at(self) -> Height:
        """The height; raises InvalidRequest when the subject is not of its form."""
        height = Height(self.height)
        if not re.fullmatch(SUBJECTS.get(height, r"[a-z0-9_-]{0,64}"), self.subject):
            raise InvalidRequest("subject is not of the form that its height has")
        return height


def _scopes(texts: list[str]) -> tuple[Scope, ...]:
    return tuple(Scope.parse(text) for text in texts)
