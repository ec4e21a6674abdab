"""The database's clock between readings: its last instant, moved on by our monotonic clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

READ_EVERY = 1.0


class DatabaseClock:
    """Tells the database's time without asking it each time; asks again every second.

    A step of either machine's wall clock is noticed at the next reading, at the latest.
    """

    def __init__(self, read: Callable[[], datetime]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._at: datetime | None = None
        self._mono = 0.0

    def now(self) -> datetime:
        """The database's time. Raises StoreUnavailable when a reading is due and it is away."""
        mono = time.monotonic()
        with self._lock:
            if self._at is None or mono - self._mono > READ_EVERY:
                self._at = self._read()
                self._mono = mono = time.monotonic()
            return self._at + timedelta(seconds=mono - self._mono)
