"""What MemoryStore reads out of its values, as the real store's queries do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from valetkey.core.comparison import Known
from valetkey.core.facts import HistoryQuery, RecordedFact
from valetkey.core.lease import Lease
from valetkey.core.task import Task, TaskState


def known(lease: Lease) -> Known:
    """What a comparison needs of a lease."""
    name = lease.handle.name
    return Known(lease.id, lease.target, name, lease.state, lease.backend_expires_at)


def matches(recorded: RecordedFact, query: HistoryQuery) -> bool:
    """Whether history's answer to this query has this fact."""
    fact = recorded.fact
    pairs = (
        (query.agent_id, fact.agent_id),
        (query.owner, fact.owner),
        (query.task_id, fact.task_id),
        (query.grant_id, fact.grant_id),
        (query.lease_id, fact.lease_id),
        (query.target, fact.target),
        (query.outcome, fact.outcome),
        (query.kind, fact.kind.value),
    )
    return (
        all(wanted in (None, is_) for wanted, is_ in pairs)
        and (query.since is None or recorded.at >= query.since)
        and (query.until is None or recorded.at < query.until)
        and (query.before is None or recorded.number < query.before)
    )


def hurried_tasks(tasks: Iterable[Task], now: datetime) -> dict[str, Task]:
    """The open ones, due to end now."""
    opened = (task for task in tasks if task.state is TaskState.OPEN)
    return {x.id: replace(x, deadline_at=min(x.deadline_at, now)) for x in opened}
