"""What the simulated store knows of proposals and of bindings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from valetkey.core.agent import Binding
from valetkey.core.proposal import Proposal
from valetkey.testing.sim_locks import UPDATE
from valetkey.testing.sim_session import SimSession


class SimProposals(SimSession):
    """Part of the Transaction port; whoever writes here holds the agent's row."""

    def proposal(self, proposal_id: str, *, lock: bool = False) -> Proposal | None:
        found = self._row("proposals", proposal_id, UPDATE if lock else 0)
        return cast("Proposal | None", found)

    def open_proposal(self, agent_id: str) -> Proposal | None:
        self._statement("open proposal of", agent_id)
        return self._snapshot.open_proposal(agent_id)

    def proposals(self, owner: str | None) -> Sequence[Proposal]:
        self._statement("proposals")
        return self._snapshot.proposals(owner)

    def add_proposal(self, proposal: Proposal) -> None:
        self._insert("proposals", proposal)

    def save_proposal(self, proposal: Proposal) -> None:
        self._update("proposals", proposal)

    def bindings(self, agent_id: str) -> Sequence[Binding]:
        self._statement("bindings", agent_id)
        return self._snapshot.bindings(agent_id)

    def bindings_of_issuer(self, issuer: str) -> Sequence[Binding]:
        self._statement("bindings of", issuer)
        return self._snapshot.bindings_of_issuer(issuer)

    def add_binding(self, binding: Binding) -> bool:
        self._statement("add binding", binding.id)
        self._take(("bindings.claims", f"{binding.issuer} {binding.claims}"), UPDATE)
        others = self._snapshot.bindings_of_issuer(binding.issuer)
        if any(x.claims == binding.claims for x in others):
            return False
        self._write("bindings", binding)
        return True

    def remove_binding(self, binding_id: str) -> None:
        self._statement("remove binding", binding_id)
        self._take(("bindings", binding_id), UPDATE)
        if binding_id in self._snapshot.state.bindings:
            self.own.setdefault("bindings", {})[binding_id] = None
