"""Admission: how many live leases there may be, and how fast a principal may ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Ceilings:
    """How many leases at most may not have ended: of a task, an agent, a target, and in all.

    A lease counts until its end is proven, for until then its credential may work.
    """

    task: int = 20
    agent: int = 100
    target: int = 1000
    everything: int = 5000


@dataclass(frozen=True)
class Rate:
    """How many requests a principal may make per second on average, and how many at once."""

    per_second: float = 20.0
    burst: int = 60


@dataclass(frozen=True)
class Bucket:
    """The requests that a principal may make at once, as they were at an instant (token bucket)."""

    left: float
    at: datetime

    def filled(self, rate: Rate, now: datetime) -> Bucket:
        """The same bucket now: time fills it, its size bounds it."""
        gone = max(0.0, (now - self.at).total_seconds())
        return Bucket(min(rate.burst, self.left + gone * rate.per_second), now)

    def taken(self) -> Bucket:
        """One request less."""
        return Bucket(self.left - 1, self.at)


def seconds_until_one(left: float, rate: Rate) -> float:
    """How long until a bucket that holds less than one request holds one."""
    return max(0.0, 1 - left) / rate.per_second
