"""MemoryStore's own name and epoch, and its tallies, as the real store keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from valetkey.core.tally import Tallies
from valetkey.core.task import Task
from valetkey.testing.memory_readings import hurried_tasks


class Rows(Protocol):
    """The dictionaries that are needed here."""

    names: dict[str, str]
    tallies: dict[str, Tallies]
    tasks: dict[str, Task]


class MemoryEpochs:
    """Part of the Transaction port."""

    @property
    def _state(self) -> Rows:
        raise NotImplementedError

    def now(self) -> datetime:
        raise NotImplementedError

    def installation(self) -> str:
        return self._state.names["installation"]

    def begin_epoch(self, least: int) -> str:
        name, _, epoch = self.installation().rpartition("e")
        self._state.names["installation"] = f"{name}e{max(int(epoch) + 1, least)}"
        return self.installation()

    def hurry_tasks(self) -> int:
        hurried = hurried_tasks(self._state.tasks.values(), self.now())
        self._state.tasks.update(hurried)
        return len(hurried)

    def tallies(self, name: str) -> Tallies:
        return self._state.tallies.get(name, Tallies())

    def save_tallies(self, name: str, tallies: Tallies) -> None:
        self._state.tallies[name] = tallies
