"""A drill of the kill switch: what it would end, and how long that would take."""

from __future__ import annotations

from dataclasses import dataclass

from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import UNENDED, Lease
from valetkey.core.principal import Caller
from valetkey.flows.forecast import LAST, Forecast, forecast
from valetkey.flows.kill_subject import known_subject, may_order
from valetkey.ports import Broker


@dataclass(frozen=True)
class Drill:
    """What a kill at this height would end now, and an estimate of how long until all is proven."""

    height: Height
    subject: str
    would_end: tuple[Lease, ...]
    expected: Forecast


def drill_kill(
    broker: Broker, caller: Caller, height: Height, subject: str, reason: str
) -> Drill:
    """Say what `kill` would do with the same words; writes one fact and nothing else.

    Raises what `kill` raises.
    """
    may_order(caller, height, subject)
    by = str(caller.principal)
    with broker.store.transaction() as tx:
        known = known_subject(broker, tx, height, subject)
        now = tx.now()
        under = tx.leases_under(Kill("", height, known, reason, by, now))
        would_end = tuple(lease for lease in under if lease.state in UNENDED)
        expected = forecast(would_end, tx.recent_ends(LAST), broker.limits.ends_at_once, now)
        body = {
            "height": height.value,
            "subject": known,
            "would_end": len(would_end),
            "expected_seconds": expected.seconds,
            "untrusted_reason": reason,
        }
        tx.record(Fact(kind=FactKind.KILL_DRILLED, by=by, body=body))
    return Drill(height, known, would_end, expected)
