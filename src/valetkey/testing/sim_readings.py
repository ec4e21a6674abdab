"""What the simulated store reads for comparisons and the doctor, and how it keeps its own name."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.core.comparison import Known
from valetkey.core.invariants import Rule, Terms
from valetkey.core.tally import Tallies
from valetkey.testing.memory_readings import hurried_tasks
from valetkey.testing.sim_session import SimSession


class SimReadings(SimSession):
    """Part of the Transaction port; nothing here is locked."""

    def installation(self) -> str:
        return self._snapshot.installation()

    def begin_epoch(self, least: int) -> str:
        self._statement("begin epoch")
        name, _, epoch = self._snapshot.installation().rpartition("e")
        begun = f"{name}e{max(int(epoch) + 1, least)}"
        self.own.setdefault("names", {})["installation"] = begun
        return begun

    def hurry_tasks(self) -> int:
        self._statement("hurry tasks")
        hurried = hurried_tasks(self._snapshot.state.tasks.values(), self.now())
        self.own.setdefault("tasks", {}).update(hurried)
        return len(hurried)

    def tallies(self, name: str) -> Tallies:
        self._statement("tallies", name)
        return self._snapshot.tallies(name)

    def save_tallies(self, name: str, tallies: Tallies) -> None:
        self._statement("save tallies", name)
        self.own.setdefault("tallies", {})[name] = tallies

    def unended_names(self, minter: str) -> Sequence[Known]:
        self._statement("unended names of", minter)
        return self._snapshot.unended_names(minter)

    def names_of(self, lease_ids: Sequence[str]) -> Sequence[Known]:
        self._statement("names of")
        return self._snapshot.names_of(lease_ids)

    def broken(self, terms: Terms) -> Sequence[tuple[Rule, str]]:
        self._statement("broken")
        return self._snapshot.broken(terms)
