"""Readings of the database's clock, shared by its transactions, so that few must ask for one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

GOOD_FOR = 1.0
"""Seconds after which a reading is not moved on any more."""


@dataclass(frozen=True)
class Reading:
    """What the database's clock said, and when by our monotonic clock the answer had come.

    What is told is never ahead of the database, because the answer took its time.
    """

    at: datetime
    mono: float

    def now(self) -> datetime:
        """The database's time, moved on by our monotonic clock."""
        return self.at + timedelta(seconds=time.monotonic() - self.mono)


class Readings:
    """The newest reading of one database's clock. Safe for threads."""

    def __init__(self) -> None:
        self._newest: Reading | None = None

    def note(self, at: datetime) -> Reading:
        """Keep what the database just said."""
        self._newest = Reading(at, time.monotonic())
        return self._newest

    def recent(self) -> Reading | None:
        """A reading not older than a second; None when one must ask."""
        newest = self._newest
        return newest if newest and time.monotonic() - newest.mono < GOOD_FOR else None
