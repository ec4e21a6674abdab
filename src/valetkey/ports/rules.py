"""Rules kept in our store: what a transaction knows of them, and who reads and serves them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from valetkey.core.decision import Decision
from valetkey.core.rules import Activation, RulesProposal, RulesVersion
from valetkey.ports.outside import RuleSet


class RulesKept(Protocol):
    """Versions, which of them are in force, and which are proposed."""

    def hold_rules(self) -> None:
        """Be the only one that changes the rules until the end; others wait."""

    def rules_version(self, digest: str) -> RulesVersion | None:
        """One version, with its files."""

    def add_rules_version(self, version: RulesVersion) -> None:
        """Keep a version; one that is kept already stays as it is."""

    def forget_rules_version(self, digest: str) -> None:
        """Drop a version that was never in force and that no open proposal names."""

    def activations(self, limit: int) -> Sequence[Activation]:
        """The newest, newest first; the first one says what is in force."""

    def add_activation(self, activation: Activation) -> None:
        """Put a version in force; `hold_rules` before."""

    def rules_proposal(self, proposal_id: str) -> RulesProposal | None:
        """One proposal."""

    def open_rules_proposal(self, rule: str) -> RulesProposal | None:
        """The one of a trust rule that a person may accept."""

    def rules_proposals(self) -> Sequence[RulesProposal]:
        """The newest, newest first."""

    def add_rules_proposal(self, proposal: RulesProposal) -> None:
        """Write a new one; a rule has at most one that is open."""

    def save_rules_proposal(self, proposal: RulesProposal) -> None:
        """Write a decision on one."""

    def live_at(self, targets: Collection[str]) -> Mapping[str, int]:
        """How many leases of each scope (`orders-db:read`) of these targets have not ended."""

    def recent_inputs(self, limit: int) -> Sequence[Mapping[str, object]]:
        """The recorded inputs of the newest decisions, newest first."""


class CheckedRules(RuleSet, Protocol):
    """One version, read and tested, whether or not it may be in force."""

    @property
    def version(self) -> tuple[str, str]:
        """Catalogue digest and policy hash."""

    def outline(self) -> Mapping[str, str]:
        """Each target, scope and policy by name, with a digest of what is said of it."""

    def again(self, recorded: Mapping[str, object]) -> Decision | None:
        """Decide a recorded input again; None when the catalogue no longer knows what it asks."""


class Rulebook(Protocol):
    """Reads versions of the rules, and knows which one this replica serves."""

    def read(self, files: Mapping[str, str], *, tested: bool = True) -> CheckedRules:
        """Everything checked, the version's own policy tests too unless told not to.

        Raises RulesInvalid.
        """

    def unproven(self, rules: CheckedRules) -> Sequence[tuple[str, str]]:
        """Targets that keep it from coming into force here and now, each with the reason.

        Raises what a minter raises when its back end cannot be asked.
        """

    def serves(self) -> int | None:
        """The number of the activation that is in force here; None before there is one."""

    def follow(self) -> None:
        """Look soon what is in force; others find it at their next look."""
