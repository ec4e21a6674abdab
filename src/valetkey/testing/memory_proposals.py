"""The memory store's proposals, and the end of a binding."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.core.proposal import OPEN, Proposal
from valetkey.testing.memory_tasks import _State


class MemoryProposals:
    """What a transaction of the memory store can say of proposals."""

    @property
    def _state(self) -> _State:
        raise NotImplementedError

    def proposal(self, proposal_id: str, *, lock: bool = False) -> Proposal | None:
        return self._state.proposals.get(proposal_id)

    def open_proposal(self, agent_id: str) -> Proposal | None:
        found = (x for x in self._state.proposals.values() if x.agent_id == agent_id)
        return next((x for x in found if x.state in OPEN), None)

    def proposals(self, owner: str | None) -> Sequence[Proposal]:
        found = (x for x in self._state.proposals.values() if owner in (None, x.owner))
        return sorted(found, key=lambda proposal: proposal.id, reverse=True)

    def add_proposal(self, proposal: Proposal) -> None:
        assert self.open_proposal(proposal.agent_id) is None, "unique index"
        self._state.proposals[proposal.id] = proposal

    def save_proposal(self, proposal: Proposal) -> None:
        self._state.proposals[proposal.id] = proposal

    def remove_binding(self, binding_id: str) -> None:
        self._state.bindings.pop(binding_id, None)
