"""FakeWitness: notes in a dictionary, by name, each with its version."""

from __future__ import annotations

from dataclasses import dataclass, field

from valetkey.core.errors import BrokerError, MinterRefused
from valetkey.core.tally import Noted, Tally


@dataclass
class FakeWitness:
    """A witness whose notes can be set back; `fail` raises once for each error put there."""

    notes: dict[str, Noted] = field(default_factory=dict)
    fail: list[BrokerError] = field(default_factory=list)

    def noted(self, installation: str) -> Noted | None:
        """What is noted."""
        if self.fail:
            raise self.fail.pop(0)
        return self.notes.get(installation)

    def note(self, installation: str, tally: Tally, over: int) -> None:
        """Note it, over that version only."""
        noted = self.notes.get(installation)
        if over != (noted.version if noted else 0):
            raise MinterRefused()
        self.notes[installation] = Noted(tally, over + 1)

    def installations(self) -> list[str]:
        """Every name."""
        return sorted(self.notes)
