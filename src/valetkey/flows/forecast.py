"""How long the end of many credentials will take, judged by the ends there were last."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from valetkey.core.lease import Lease, LeaseState, Proof

LAST = 400
"""How many ended leases are looked at."""


@dataclass(frozen=True)
class Forecast:
    """Seconds until the last proof, None when nobody can tell; from how many ends that is."""

    seconds: float | None
    based_on: int


def forecast(
    unended: Sequence[Lease], ended: Iterable[Lease], at_once: int, now: datetime
) -> Forecast:
    """Estimate when the last of `unended` will be proven over, if all of them start to end now.

    `ended` are the newest ends, `at_once` how many of one target are ended at the same time. What
    cannot be cut takes until its own end, and what may still be minted until its second tap. A
    lease that is stuck ends when people have helped, and a target where nothing has ended lately
    may take any time: then nobody can tell.
    """
    pace, based_on = _pace(ended, at_once)
    cut = [lease for lease in unended if lease.end_class is not Proof.EXPIRED]
    waits = [_waits(lease, now) for lease in unended]
    if any(lease.state is LeaseState.STUCK for lease in cut):
        return Forecast(None, based_on)
    per_target = Counter(lease.target for lease in cut)
    if not per_target.keys() <= pace.keys():
        return Forecast(None, based_on)
    takes = [pace[name] * -(-many // at_once) for name, many in per_target.items()]
    return Forecast(round(max([*waits, *takes], default=0.0), 3), based_on)


def _waits(lease: Lease, now: datetime) -> float:
    """How many seconds its proof must wait at least."""
    if lease.end_class is Proof.EXPIRED:
        until = lease.backend_expires_at
    else:
        in_flight = lease.activated_at is None or lease.renewals > 0
        until = lease.second_tap_at if in_flight else now
    return max((until - now).total_seconds(), 0.0)


def _pace(ended: Iterable[Lease], at_once: int) -> tuple[Mapping[str, float], int]:
    """Seconds one end takes at each target, without its wait for others, and from how many ends.

    An end cannot have begun before one of `at_once` places was free: when the end so many before
    it was over. Only ends that were proven by acting count, of what had been handed out.
    """
    by_target: dict[str, list[Lease]] = defaultdict(list)
    for lease in ended:
        if lease.proof in {Proof.VERIFIED, Proof.CONFIRMED} and lease.activated_at is not None:
            by_target[lease.target].append(lease)
    found = {name: _typical(leases, at_once) for name, leases in by_target.items()}
    pace = {name: typical for name, typical in found.items() if typical is not None}
    return pace, sum(len(by_target[name]) for name in pace)


def _typical(leases: Iterable[Lease], at_once: int) -> float | None:
    spans = sorted((x.ended_at, x.ending_since) for x in leases if x.ended_at and x.ending_since)
    took = [
        (ended - max(since, spans[at - at_once][0] if at >= at_once else since)).total_seconds()
        for at, (ended, since) in enumerate(spans)
    ]
    return statistics.median(took) if took else None
