"""The database's clock, told between readings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from valetkey.store.readings import Readings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def told_by(readings: Readings, read: Callable[[], datetime]) -> datetime:
    """The time as the store tells it: from a recent reading, else from a new one."""
    return (readings.recent() or readings.note(read())).now()


def test_time_goes_on_between_readings_without_asking() -> None:
    """Many questions in a moment are one reading, and each answer is later than the last."""
    asked: list[datetime] = []

    def read() -> datetime:
        asked.append(NOON)
        return NOON

    readings = Readings()
    told = [told_by(readings, read) for _ in range(100)]
    assert len(asked) == 1
    assert told == sorted(told)
    assert told[-1] - NOON < timedelta(seconds=1)


def test_a_reading_is_taken_again_after_a_second() -> None:
    """A step of the database's clock is noticed at the next reading."""
    step = iter([NOON, NOON + timedelta(hours=1)])
    readings = Readings()
    assert told_by(readings, lambda: next(step)) - NOON < timedelta(minutes=1)
    until = time.monotonic() + 5
    while told_by(readings, lambda: next(step)) - NOON < timedelta(minutes=1):
        assert time.monotonic() < until
    assert told_by(readings, lambda: next(step)) - NOON >= timedelta(hours=1)
