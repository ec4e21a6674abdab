"""The memory store's versions of the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from valetkey.core.lease import LeaseState
from valetkey.core.proposal import OPEN
from valetkey.core.rules import Activation, RulesProposal, RulesVersion
from valetkey.testing.memory_tasks import _State


class MemoryRules:
    """What a transaction of the memory store can say of the rules."""

    @property
    def _state(self) -> _State:
        raise NotImplementedError

    def hold_rules(self) -> None:
        """One transaction at a time is turn enough."""

    def rules_version(self, digest: str) -> RulesVersion | None:
        return self._state.rules_versions.get(digest)

    def add_rules_version(self, version: RulesVersion) -> None:
        self._state.rules_versions.setdefault(version.digest, version)

    def forget_rules_version(self, digest: str) -> None:
        if not self.needs_rules(digest):
            self._state.rules_versions.pop(digest, None)

    def needs_rules(self, digest: str) -> bool:
        """Whether it was in force, or an open proposal names it."""
        asked = (x.digest for x in self._state.rules_proposals.values() if x.state in OPEN)
        return digest in {*asked, *(x.digest for x in self._state.rules_activations.values())}

    def activations(self, limit: int) -> Sequence[Activation]:
        found = self._state.rules_activations
        return [found[number] for number in sorted(found, reverse=True)][:limit]

    def add_activation(self, activation: Activation) -> None:
        assert activation.number not in self._state.rules_activations, "primary key"
        assert activation.digest in self._state.rules_versions, "foreign key"
        self._state.rules_activations[activation.number] = activation

    def rules_proposal(self, proposal_id: str) -> RulesProposal | None:
        return self._state.rules_proposals.get(proposal_id)

    def open_rules_proposal(self, rule: str) -> RulesProposal | None:
        found = (x for x in self._state.rules_proposals.values() if x.rule == rule)
        return next((x for x in found if x.state in OPEN), None)

    def rules_proposals(self) -> Sequence[RulesProposal]:
        found = self._state.rules_proposals
        return [found[name] for name in sorted(found, reverse=True)]

    def add_rules_proposal(self, proposal: RulesProposal) -> None:
        assert self.open_rules_proposal(proposal.rule) is None, "unique index"
        self._state.rules_proposals[proposal.id] = proposal

    def save_rules_proposal(self, proposal: RulesProposal) -> None:
        self._state.rules_proposals[proposal.id] = proposal

    def live_at(self, targets: Collection[str]) -> Mapping[str, int]:
        found = (x for x in self._state.leases.values() if x.state is not LeaseState.ENDED)
        return Counter(str(x.scope).partition("{")[0] for x in found if x.target in targets)

    def recent_inputs(self, limit: int) -> Sequence[Mapping[str, object]]:
        found = self._state.decisions
        newest = sorted(found, reverse=True)[:limit]
        return [found[name].recorded_input for name in newest]
