"""What is due in the memory store: what the real one says in one statement, said by its parts."""

from __future__ import annotations

from datetime import datetime

from valetkey.core.grant import GrantState
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import Lease
from valetkey.core.task import TaskState
from valetkey.ports import Duty, Mine, Transaction


def duties_due(tx: Transaction) -> frozenset[Duty]:
    """The duties that have something to do at the store's time."""
    now = tx.now()
    undecided = (GrantState.WAITING, GrantState.APPROVED)
    found = {
        Duty.GRANTS: any(tx.grants_overdue(state, now) for state in undecided),
        Duty.TASKS: bool(tx.tasks_overdue(1)),
        Duty.KILLS: bool(tx.kills_unfinished()),
        Duty.LEASES: any(x.due_at is not None and x.due_at <= now for x in tx.unended_leases()),
    }
    return frozenset(duty for duty, due in found.items() if due)


def is_of(mine: Mine, lease: Lease, now: datetime) -> bool:
    """Whether a due lease is for this replica to end."""
    left = now - (lease.due_at or now)
    if mine.target not in (None, lease.target):
        return False
    return lease.handle.minter in mine.minters or left >= mine.forsaken


def is_unfinished(tx: Transaction, kill: Kill) -> bool:
    """Whether something lives under a kill."""
    if tx.live_leases(kill, 1):
        return True
    task = tx.task(kill.subject) if kill.height is Height.TASK else None
    return task is not None and task.state is TaskState.OPEN
