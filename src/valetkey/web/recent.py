"""Recent: one look at a time, kept for a moment, so that what is open to all stays cheap.

Readiness asks every back end and metrics count every lease; anybody who can reach the port may ask
for both, as often as they like, and must not thereby hold the threads that a kill needs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Seen = TypeVar("Seen")


class Recent(Generic[Seen]):
    """A look that is taken by one caller at a time and holds for `seconds`.

    While somebody else is still looking, callers get what was seen last if that is younger than
    `at_most` seconds, and `meanwhile()` if it is not. What the look raises only its taker gets.
    """

    def __init__(
        self,
        look: Callable[[], Seen],
        meanwhile: Callable[[], Seen],
        *,
        seconds: float = 1.0,
        at_most: float = 10.0,
    ) -> None:
        self._look, self._meanwhile = look, meanwhile
        self._seconds, self._at_most = seconds, at_most
        self._turn = threading.Lock()
        self._last: tuple[float, Seen] | None = None

    def __call__(self) -> Seen:
        """What is seen now, or was a moment ago."""
        last = self._last
        if last is not None and time.monotonic() - last[0] < self._seconds:
            return last[1]
        if not self._turn.acquire(blocking=False):
            if last is not None and time.monotonic() - last[0] < self._at_most:
                return last[1]
            return self._meanwhile()
        try:
            seen = self._look()
            self._last = time.monotonic(), seen
        finally:
            self._turn.release()
        return seen
