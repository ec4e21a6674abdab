"""The bucket of requests: what it holds, what time gives back, and what it never gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.admission import Bucket, Rate, seconds_until_one

START = datetime(2026, 1, 1, tzinfo=UTC)
RATES = some.builds(Rate, some.floats(0.1, 1000), some.integers(1, 100))
PAUSES = some.lists(some.floats(0, 5), max_size=60)


@given(RATES, PAUSES)
def test_nobody_gets_more_than_a_burst_and_what_time_gave(rate: Rate, pauses: list[float]) -> None:
    """However requests are spaced, no more pass than the bucket's size and rate times time."""
    now, passed = START, 0
    bucket = Bucket(rate.burst, now)
    for pause in pauses:
        now += timedelta(seconds=pause)
        bucket = bucket.filled(rate, now)
        if bucket.left >= 1:
            bucket, passed = bucket.taken(), passed + 1
    assert passed <= rate.burst + rate.per_second * (now - START).total_seconds() + 1e-6


@given(RATES, some.floats(0, 0.99))
def test_whoever_waits_as_told_gets_one(rate: Rate, left: float) -> None:
    """`retry_after` is enough, to the microsecond."""
    wait = timedelta(seconds=seconds_until_one(left, rate)) + timedelta(microseconds=1)
    assert Bucket(left, START).filled(rate, START + wait).left >= 1 - 1e-3


def test_a_clock_that_steps_back_takes_nothing_away() -> None:
    """Time that did not pass fills nothing and empties nothing."""
    assert Bucket(3, START).filled(Rate(), START - timedelta(hours=1)).left == 3
