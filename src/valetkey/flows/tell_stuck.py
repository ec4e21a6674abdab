"""Tell people of a lease that cannot be ended: when it becomes stuck, and again as it ages."""

from __future__ import annotations

from datetime import datetime, timedelta

from valetkey.core.lease import Lease, LeaseState
from valetkey.ports import Broker

DAY = timedelta(days=1)
AGES = (timedelta(minutes=15), timedelta(hours=1), DAY)
"""How long an ending has taken when people are told again; after the last, every day."""


def tell_stuck(broker: Broker, lease: Lease, now: datetime) -> None:
    """Raise the alarm that is due for a stuck lease at its age, once in all replicas.

    Others raise none. `now` is the database's; raises StoreUnavailable.
    """
    if lease.state is not LeaseState.STUCK:
        return
    since = lease.ending_since or lease.created_at
    step = _step(now - since)
    key = f"{lease.id} {since.isoformat()} {step}"
    if not broker.store.first_use("stuck", key, now + 2 * DAY):
        return
    about = {"lease": lease.id, "target": lease.target, "problem": lease.last_error or ""}
    what = "a lease could not be ended and needs a human"
    broker.notifier.alarm(what, {**about, "ending_since": since.isoformat()})


def _step(age: timedelta) -> int:
    """How many of the ages it has passed; after a day, one more for each day."""
    passed = sum(age >= one for one in AGES)
    return passed if age < DAY else passed + int(age / DAY) - 1
