"""What a transaction knows of changes that jobs proposed and people decide on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from valetkey.core.proposal import Proposal


class Proposals(Protocol):
    """The proposals for agents; the row of the agent is locked before that of its proposal."""

    def proposal(self, proposal_id: str, *, lock: bool = False) -> Proposal | None:
        """One proposal."""

    def open_proposal(self, agent_id: str) -> Proposal | None:
        """The one that waits for an agent, or was refused and not overtaken since."""

    def proposals(self, owner: str | None) -> Sequence[Proposal]:
        """The newest proposals, of one owner's agents or of all, newest first."""

    def add_proposal(self, proposal: Proposal) -> None:
        """Write a new one; an agent has at most one that is open."""

    def save_proposal(self, proposal: Proposal) -> None:
        """Write a decision on one."""

    def remove_binding(self, binding_id: str) -> None:
        """Forget that this identity is the agent's; doing it twice is fine."""
