"""Admit: neither too fast nor too much, before anything else is done or minted."""

from __future__ import annotations

import math

from valetkey.core.admission import Rate
from valetkey.core.errors import MinterUnavailable, RateLimited
from valetkey.core.kill import Reach
from valetkey.core.principal import Principal
from valetkey.ports import Broker, Transaction

WAIT_FOR_ROOM = 5.0
"""Seconds after which a full ceiling is worth another try: leases end all the time."""


def pace(broker: Broker, principal: Principal, door: str = "api") -> None:
    """Take one request from the principal's bucket at this door; its own commit.

    The principal must be proven: what strangers say of themselves takes nothing from anybody.
    Raises RateLimited.
    """
    if broker.limits.rate is not None:
        _take(broker, f"{door} {principal}", broker.limits.rate, "rate")


def pace_issuer(broker: Broker, issuer: str) -> None:
    """Take one token from the bucket that all identities of an issuer share, if it has a rate.

    `issuer` is the record's name. It comes after the principal's own bucket, so that one alone
    cannot empty it. Raises RateLimited.
    """
    rate = broker.limits.issuer_rates.get(issuer)
    if rate is not None:
        _take(broker, f"issuer {issuer}", rate, "issuer")


def _take(broker: Broker, bucket: str, rate: Rate, limit: str) -> None:
    wait = broker.store.admit(bucket, rate)
    if wait is not None:
        again = _rounded(wait)
        raise RateLimited("Too many requests.", retry_after=again, extra={"limit": limit})


def make_room(broker: Broker, tx: Transaction, reach: Reach) -> None:
    """Keep room for one more lease until the transaction ends, at a target that can be called.

    Raises MinterUnavailable, or RateLimited, which must undo the transaction: a full ceiling and
    a target that is left alone change nothing, so that the same request may come again.
    """
    may_call(broker, reach.target or "")
    ceilings = broker.limits.ceilings
    full = tx.ceiling_reached(reach, ceilings) if ceilings else None
    if full is not None:
        detail = f"Too many leases have not ended (ceiling: {full})."
        raise RateLimited(detail, retry_after=WAIT_FOR_ROOM, extra={"limit": full})


def room_for_task(broker: Broker, tx: Transaction, agent_id: str) -> None:
    """Raise RateLimited when an agent has opened as many tasks as may be open.

    Whoever ends an agent or a tree of tasks ends it whole, while others wait for that. Of two who
    ask at once for the last place one waits for the other, and finds it taken.
    """
    most = broker.limits.open_tasks
    if tx.opened_by(agent_id, most) >= most:
        detail = "Too many tasks of this agent are open."
        raise RateLimited(detail, retry_after=WAIT_FOR_ROOM, extra={"limit": "tasks"})


def may_call(broker: Broker, target: str) -> None:
    """Raises MinterUnavailable while the target is left alone or its lane has no room."""
    wait = broker.lanes.refusal(target)
    if wait is not None:
        again = _rounded(wait)
        raise MinterUnavailable("the target does not answer or is busy", retry_after=again)


def _rounded(wait: float) -> float:
    """Seconds to wait as they are told: tenths, up, and at least one."""
    return max(0.1, math.ceil(wait * 10) / 10)
