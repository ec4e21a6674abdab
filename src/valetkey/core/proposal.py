"""Proposals: what a CI job would widen about an agent, waiting for a named person's yes or no."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from valetkey.core.agent import Agent, AgentState, Binding, Identity
from valetkey.core.ask import canonical_hash
from valetkey.core.scope import Scope


class ProposalState(StrEnum):
    """Where a proposal stands; a refused one stands in the way of asking for the same again."""

    WAITING = "waiting"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    SUPERSEDED = "superseded"


OPEN: Final = frozenset({ProposalState.WAITING, ProposalState.REFUSED})
"""The states in which a person may still accept it; an agent has at most one such proposal."""


@dataclass(frozen=True)
class Proposal:
    """A wider boundary and further bindings for one agent, as a job under `rule` wants them.

    `boundary` is the whole boundary that the agent would have, `bindings` are added. `base` is the
    digest of the agent as it was: accepted is only what was shown, on an agent that is unchanged.
    `was` is its boundary then; None where a version that did not keep it made the proposal.
    """

    id: str
    agent_id: str
    owner: str
    boundary: tuple[Scope, ...]
    bindings: tuple[Identity, ...]
    base: str
    rule: str
    created_by: str
    created_at: datetime
    state: ProposalState = ProposalState.WAITING
    decided_by: str | None = None
    decided_at: datetime | None = None
    was: tuple[Scope, ...] | None = None

    @property
    def shown_hash(self) -> str:
        """The name of exactly what a person is shown and says yes to."""
        shown = {"proposal": self.id, "agent": self.agent_id, "base": self.base, "rule": self.rule}
        return canonical_hash({**shown, "wanted": _plain(self.boundary, self.bindings)})

    def asks_for(self, boundary: tuple[Scope, ...], bindings: tuple[Identity, ...]) -> bool:
        """Whether it asks for just this, in any order."""
        return _plain(self.boundary, self.bindings) == _plain(boundary, bindings)

    def decided(self, state: ProposalState, by: str, at: datetime) -> Proposal:
        """The same proposal, decided by a person or overtaken by a newer file."""
        return replace(self, state=state, decided_by=by, decided_at=at)


def agent_digest(agent: Agent, bindings: Iterable[Binding]) -> str:
    """What reviewed files can say of an agent, as one word: it differs when any of it does.

    Whether its owner has accepted it yet is no part of it, whether it is disabled is.
    """
    return canonical_hash(
        {
            "id": agent.id,
            "owner": agent.owner,
            "team": agent.team,
            "labels": dict(agent.labels),
            "disabled": agent.state is AgentState.DISABLED,
            "has": _plain(agent.boundary, [(one.issuer, one.claims) for one in bindings]),
        }
    )


def _plain(boundary: Iterable[Scope], bindings: Iterable[Identity]) -> dict[str, object]:
    """The same JSON for the same scopes and identities in any order."""
    bound = sorted([issuer, sorted(map(list, claims))] for issuer, claims in bindings)
    return {"boundary": sorted({str(scope) for scope in boundary}), "bindings": bound}
