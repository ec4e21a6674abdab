"""Rules from our own store: read by the activation that is in force, and checked when pushed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from valetkey.core.catalogue import Catalogue
from valetkey.core.errors import RulesInvalid
from valetkey.core.rules import version_digest
from valetkey.policy.checks import prove
from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.rules import NotPinned, Rules, read_rules
from valetkey.ports import CheckedRules, Store

NONE_YET = "no rules were ever put in force: run `valetkey rules init`"


class StoredRules:
    """What the newest activation says; texts are read anew only when another version is named."""

    def __init__(self, store: Store, groups: Sequence[str]) -> None:
        self._store, self._groups = store, groups
        self._read: tuple[str, Rules] | None = None

    def __call__(self) -> Rules:
        """The rules that are to be in force. Raises NotPinned with what is wrong with them."""
        with self._store.transaction() as tx:
            newest = next(iter(tx.activations(1)), None)
            if newest is None:
                raise NotPinned([Problem("", 0, NONE_YET)])
            if self._read is not None and self._read[0] == newest.digest:
                return replace(self._read[1], number=newest.number)
            version = tx.rules_version(newest.digest)
        if version is None or version_digest(version.files) != newest.digest:
            raise NotPinned([Problem("", 0, "the version in force is not whole in the database")])
        try:
            rules = read_rules(version.files, self._groups)
        except FilesInvalid as wrong:  # a newer broker may refuse what an older one took
            raise NotPinned(wrong.problems) from None
        self._read = newest.digest, rules
        return replace(rules, number=newest.number)


@dataclass(frozen=True)
class StoreRulebook:
    """The Rulebook port over the loaders, the gate and the rules in force here."""

    groups: Sequence[str]
    gate: Callable[[Catalogue], Sequence[tuple[str, str]]]
    number: Callable[[], int | None]
    look: Callable[[], None]

    def read(self, files: Mapping[str, str], *, tested: bool = True) -> CheckedRules:
        """Read, check and test; raises RulesInvalid."""
        try:
            return prove(files, self.groups) if tested else read_rules(files, self.groups)
        except FilesInvalid as wrong:
            listed = [vars(problem) for problem in wrong.problems[:MOST_TOLD]]
            told = f"{len(wrong.problems)} faults, the first: {wrong.problems[0]}"
            raise RulesInvalid(told, extra={"problems": listed}) from None

    def unproven(self, rules: CheckedRules) -> Sequence[tuple[str, str]]:
        """What the gate has against it."""
        return sorted(self.gate(rules.catalogue))

    def serves(self) -> int | None:
        """The activation in force here."""
        return self.number()

    def follow(self) -> None:
        """Have the upkeep look now."""
        self.look()


MOST_TOLD = 100
