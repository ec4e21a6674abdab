"""What the simulated store knows of versions of the rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from valetkey.core.rules import Activation, RulesProposal, RulesVersion
from valetkey.testing.sim_locks import UPDATE, Key
from valetkey.testing.sim_session import SimSession

TURN: Key = ("rules", "turn")


class SimRules(SimSession):
    """Part of the Transaction port; whoever writes here holds the rules."""

    def hold_rules(self) -> None:
        self._statement("hold rules")
        self._take(TURN, UPDATE)

    def rules_version(self, digest: str) -> RulesVersion | None:
        self._statement("rules version", digest)
        return self._snapshot.rules_version(digest)

    def add_rules_version(self, version: RulesVersion) -> None:
        self._statement("add rules version", version.digest)
        if self._snapshot.rules_version(version.digest) is None:
            self.own.setdefault("rules_versions", {})[version.digest] = version

    def forget_rules_version(self, digest: str) -> None:
        self._statement("forget rules version", digest)
        known = self._snapshot.rules_version(digest) is not None
        if known and not self._snapshot.needs_rules(digest):
            self.own.setdefault("rules_versions", {})[digest] = None

    def activations(self, limit: int) -> Sequence[Activation]:
        self._statement("activations")
        return self._snapshot.activations(limit)

    def add_activation(self, activation: Activation) -> None:
        rows = self.own.setdefault("rules_activations", {})
        rows[activation.number] = activation  # type: ignore[index]  # numbered, not named

    def rules_proposal(self, proposal_id: str) -> RulesProposal | None:
        self._statement("rules proposal", proposal_id)
        return self._snapshot.rules_proposal(proposal_id)

    def open_rules_proposal(self, rule: str) -> RulesProposal | None:
        self._statement("open rules proposal of", rule)
        return self._snapshot.open_rules_proposal(rule)

    def rules_proposals(self) -> Sequence[RulesProposal]:
        self._statement("rules proposals")
        return self._snapshot.rules_proposals()

    def add_rules_proposal(self, proposal: RulesProposal) -> None:
        self._insert("rules_proposals", proposal)

    def save_rules_proposal(self, proposal: RulesProposal) -> None:
        self._update("rules_proposals", proposal)

    def live_at(self, targets: Collection[str]) -> Mapping[str, int]:
        self._statement("live at")
        return self._snapshot.live_at(targets)

    def recent_inputs(self, limit: int) -> Sequence[Mapping[str, object]]:
        self._statement("recent inputs")
        return self._snapshot.recent_inputs(limit)
