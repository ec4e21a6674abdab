"""What keeps a crowd at one issuer's door from standing in everybody's way.

Each replica does this for itself, in memory, before anything is fetched, asked or written. Nothing
here is held against a name that somebody has not proven: places are of an issuer, waits of a key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from valetkey.core.errors import NotReady, RateLimited

MOST_KEYS: Final = 10_000
COME_AGAIN: Final = 1.0


class Places:
    """So many may wait for an issuer's keys, or for its cluster, at once; nobody queues."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place; raises NotReady at once where all are taken."""
        if not self._free.acquire(blocking=False):
            raise NotReady("too many wait for this issuer already", retry_after=COME_AGAIN)
        try:
            yield
        finally:
            self._free.release()


class Waits:
    """Which keys were told to come again later, and when; safe for threads.

    A key (RFC 7638 thumbprint) is one whose possession was just proven, so that nobody can have
    another's refused.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def check(self, jkt: str) -> None:
        """Raise RateLimited while it is too early for this key."""
        left = self._until.get(jkt, 0.0) - self._monotonic()
        if left > 0:
            wait = max(0.1, round(left, 1))
            raise RateLimited("Too many requests.", retry_after=wait, extra={"limit": "rate"})

    def told(self, jkt: str, refused: RateLimited) -> None:
        """Remember when this key may come again; the longest told are forgotten first."""
        now = self._monotonic()
        with self._lock:
            if len(self._until) >= MOST_KEYS:
                over = [key for key, until in self._until.items() if until <= now]
                for key in over or [next(iter(self._until))]:
                    del self._until[key]
            self._until[jkt] = now + (refused.retry_after or COME_AGAIN)
