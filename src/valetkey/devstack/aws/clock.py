"""The emulator's knobs: its clock, how late policies take effect, and answers that fail."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class Fault:
    """An answer to spoil: the next `times` calls of `action` fail with `code` and `status`.

    `after`: what was asked is done first, and only the answer is lost.
    """

    action: str
    code: str = "Throttling"
    status: int = 400
    times: int = 1
    after: bool = False


@dataclass
class Knobs:
    """What tests may turn. `ahead` and `lag` are seconds.

    `ahead`: how far the emulator's clock is before the real one (sessions expire sooner).
    `lag`: how long changes of policies take to have effect from now on: IAM is eventually
    consistent.
    """

    ahead: float = 0.0
    lag: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        """Return the instant the emulator lives in."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def fault(self, action: str, *, after: bool) -> Fault | None:
        """Return the fault that spoils this call of `action`, used up by it."""
        with self._lock:
            for fault in self.faults:
                if fault.action == action and fault.after is after and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None
