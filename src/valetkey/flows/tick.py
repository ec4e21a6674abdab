"""Tick: what the clock does in every replica, told in one look what there is to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from valetkey.flows.approve import time_out_grants
from valetkey.flows.end_task import end_overdue_tasks
from valetkey.flows.kill import enforce_kills
from valetkey.ports import Broker, Duty

BEFORE_SWEEP: Mapping[Duty, Callable[[Broker], int]] = {
    Duty.GRANTS: time_out_grants,
    Duty.TASKS: end_overdue_tasks,
    Duty.KILLS: enforce_kills,
}
"""Each does one batch, and says how much there was of it; zero when nothing is left.

Each may make leases due, so they come before the sweep, in this order.
"""


def duties_due(broker: Broker) -> frozenset[Duty]:
    """What a tick has to do now; wherever anything is, leases may come due by it."""
    due = broker.store.due()
    return due | {Duty.LEASES} if due else due
