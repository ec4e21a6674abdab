"""The database's clock, told between readings."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from valetkey.store.clock import DatabaseClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_time_goes_on_between_readings_without_asking() -> None:
    """Many questions in a moment are one reading, and each answer is later than the last."""
    readings: list[datetime] = []

    def read() -> datetime:
        readings.append(NOON)
        return NOON

    clock = DatabaseClock(read)
    told = [clock.now() for _ in range(100)]
    assert len(readings) == 1
    assert told == sorted(told)
    assert told[-1] - NOON < timedelta(seconds=1)


def test_a_reading_is_taken_again_after_a_second() -> None:
    """A step of the database's clock is noticed at the next reading."""
    step = iter([NOON, NOON + timedelta(hours=1)])
    clock = DatabaseClock(lambda: next(step))
    assert clock.now() - NOON < timedelta(minutes=1)
    until = time.monotonic() + 5
    while clock.now() - NOON < timedelta(minutes=1):
        assert time.monotonic() < until
    assert clock.now() - NOON >= timedelta(hours=1)
