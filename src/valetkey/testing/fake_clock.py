"""FakeClock, InlineLanes and KeptAlarms: waiting, lanes and alarms as plain variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from valetkey.testing.memory_store import MemoryStore


@dataclass
class FakeDeadline:
    """A deadline on a FakeClock."""

    clock: FakeClock
    at: float

    def left(self) -> float:
        """Seconds left."""
        return self.at - self.clock.seconds


@dataclass
class FakeClock:
    """Monotonic time that moves only when somebody waits, and moves the store's with it."""

    store: MemoryStore
    seconds: float = 0.0

    def deadline(self, after: timedelta) -> FakeDeadline:
        """A deadline that much later."""
        return FakeDeadline(self, self.seconds + after.total_seconds())

    def wait(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.seconds += seconds
        self.store.time += timedelta(seconds=seconds)


class InlineLanes:
    """Every piece of work is done at once, by whoever starts it."""

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Do it now."""
        work()

    def full(self) -> Sequence[str]:
        """There is always room."""
        return ()

    def room(self) -> int:
        """More than anybody needs."""
        return 1000


@dataclass
class KeptAlarms:
    """A notifier that remembers."""

    alarms: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def alarm(self, what: str, about: Mapping[str, str]) -> None:
        """Remember it."""
        self.alarms.append((what, dict(about)))
