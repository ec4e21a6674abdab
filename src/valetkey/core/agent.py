"""Agents: registered non-human principals with a human owner, bindings and an outer boundary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from valetkey.core.errors import AgentDisabled, AgentNotAccepted, OutsideBoundary
from valetkey.core.scope import Scope, within_any

Identity = tuple[str, tuple[tuple[str, str], ...]]
"""A workload identity: the issuer's name, and its exact claims by name."""


def identity_of(issuer: str, claims: Iterable[tuple[str, str]]) -> Identity:
    """The identity that an issuer and claims in any order make."""
    return issuer, tuple(sorted(claims))


class AgentState(StrEnum):
    """Where an agent stands: its owner accepts once before it may ask."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Agent:
    """A registered agent. `created_by` is `issuer subject` of who made it; it cannot approve."""

    id: str
    name: str
    owner: str
    team: str
    environment: str
    labels: Mapping[str, str]
    boundary: tuple[Scope, ...]
    state: AgentState
    created_by: str
    created_by_rule: str | None
    created_at: datetime
    accepted_at: datetime | None = None
    touched_by: tuple[str, ...] = field(default=())

    def may_ask(self) -> None:
        """Raise AgentNotAccepted or AgentDisabled when the agent may not ask now."""
        if self.state is AgentState.PROPOSED:
            raise AgentNotAccepted()
        if self.state is not AgentState.ACCEPTED:
            raise AgentDisabled()

    def bounds(self, scope: Scope) -> None:
        """Raise OutsideBoundary when the scope is wider than the agent may ever have."""
        if not within_any(scope, self.boundary):
            raise OutsideBoundary()

    def accepted(self, at: datetime) -> Agent:
        """The same agent, accepted by its owner."""
        return replace(self, state=AgentState.ACCEPTED, accepted_at=self.accepted_at or at)

    def disabled(self) -> Agent:
        """The same agent, disabled."""
        return replace(self, state=AgentState.DISABLED)


@dataclass(frozen=True)
class Binding:
    """A workload identity that is this agent: an issuer and exact claim values."""

    id: str
    agent_id: str
    issuer: str
    claims: tuple[tuple[str, str], ...]
    created_by: str
    created_at: datetime

    @property
    def identity(self) -> Identity:
        """Which identity is bound."""
        return identity_of(self.issuer, self.claims)

    def shares_identity(self, claims: Iterable[tuple[str, str]]) -> bool:
        """Whether every proof that fits one of the two bindings must fit the other too."""
        mine, theirs = set(self.claims), set(claims)
        return mine <= theirs or theirs <= mine
