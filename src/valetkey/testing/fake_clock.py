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


@dataclass
class InlineLanes:
    """Every piece of work is done at once, by whoever starts it.

    `alone` are the targets left alone, `tried` those of them in which one ending may be tried.
    """

    alone: set[str] = field(default_factory=set)
    tried: list[str] = field(default_factory=list)

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Do it now."""
        work()

    def full(self) -> Sequence[str]:
        """There is always room."""
        return ()

    def room(self) -> int:
        """More than anybody needs."""
        return 1000

    def shut(self) -> Sequence[str]:
        """The targets left alone."""
        return list(self.alone)

    def trials(self) -> Sequence[str]:
        """Those that a test lets be tried, once each."""
        tried, self.tried = self.tried, []
        return tried

    def refusal(self, lane: str) -> float | None:
        """Ten seconds for what is left alone."""
        return 10.0 if lane in self.alone else None

    def leave_alone(self, lane: str) -> None:
        """From now on."""
        self.alone.add(lane)


@dataclass
class KeptAlarms:
    """A notifier that remembers."""

    alarms: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def alarm(self, what: str, about: Mapping[str, str]) -> None:
        """Remember it."""
        self.alarms.append((what, dict(about)))
