"""End a task: everything issued for it starts to end, and the receipt says how far that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from valetkey.core.errors import NotFound
from valetkey.core.facts import FactKind
from valetkey.core.grant import Grant, GrantState
from valetkey.core.lease import LIVE, Lease, LeaseState
from valetkey.core.principal import Caller
from valetkey.core.task import Task, TaskState
from valetkey.flows.recording import CLOCK, grant_fact, task_fact
from valetkey.flows.revoke import mark_ending
from valetkey.flows.sweep import settle
from valetkey.ports import Broker, Transaction


@dataclass(frozen=True)
class Receipt:
    """Every credential of an ended task. States and proofs in it only move forward."""

    id: str
    task_id: str
    ended_at: datetime
    end_reason: str
    leases: tuple[Lease, ...]

    @property
    def complete(self) -> bool:
        """True once the end of every lease is proven."""
        return all(lease.state is LeaseState.ENDED for lease in self.leases)


def end_task(broker: Broker, caller: Caller, task_id: str) -> Receipt:
    """End a task with all under it, work on its leases for a little while; the receipt.

    The agent that runs it, its owner and operators may, and who may end a task above it. Ending
    twice changes nothing and gives the same receipt. Raises NotFound for anybody else.
    """
    with broker.store.transaction() as tx:
        task = tx.task(task_id, lock=True)
        if task is None or not any(may_end(caller, one) for one in line(tx, task)):
            raise NotFound()
        close_task(tx, task, "ended", str(caller.principal))
        leases = leases_below(tx, task)
    settle(broker, [lease.id for lease in leases if lease.state is not LeaseState.ENDED])
    return receipt(broker, caller, task_id)


def receipt(broker: Broker, caller: Caller, task_id: str) -> Receipt:
    """The receipt of an ended task and all under it.

    Raises NotFound while it is open, or for a stranger.
    """
    with broker.store.transaction() as tx:
        task = tx.task(task_id)
        if task is None or task.ended_at is None:
            raise NotFound()
        if not any(may_see(caller, one) for one in line(tx, task)):
            raise NotFound()
        leases = leases_below(tx, task)
    return Receipt(task.receipt_id, task.id, task.ended_at, task.end_reason or "", leases)


def line(tx: Transaction, task: Task) -> Iterator[Task]:
    """The task, and those above it."""
    yield task
    above = (tx.task(task_id) for task_id in reversed(task.ancestors))
    yield from (one for one in above if one is not None)


def leases_below(tx: Transaction, task: Task) -> tuple[Lease, ...]:
    """Every lease of the task and of those under it, oldest first."""
    tasks = (task, *tx.tasks_below(task.id))
    leases = (lease for one in tasks for lease in tx.leases_of_task(one.id))
    return tuple(sorted(leases, key=lambda lease: lease.id))


def close_task(tx: Transaction, task: Task, reason: str, by: str) -> None:
    """End a locked task and every open one under it, and all that was given for them.

    Tasks are locked from the root down, and leases oldest first, as everywhere.
    """
    close_tasks(tx, [task], reason, by)


def close_tasks(tx: Transaction, roots: Sequence[Task], reason: str, by: str) -> None:
    """The same for several locked tasks, none of which stands under another."""
    closed: list[Task] = []
    for task in roots:
        if task.state is TaskState.ENDED:
            continue
        children = [one for one in _held_below(tx, task) if one.state is TaskState.OPEN]
        _close(tx, task, reason, by)
        for child in children:
            _close(tx, child, "parent_ended", by)
        closed += (task, *children)
    held = (lease for one in closed for lease in tx.leases_of_task(one.id))
    oldest_first = sorted(held, key=lambda lease: lease.id)
    mark_ending(tx, _locked(tx, oldest_first), "task_ended", by)


def _held_below(tx: Transaction, task: Task) -> list[Task]:
    """Every task under this one, locked; looked for again until no more were opened meanwhile.

    Nothing is opened under a locked task, so that what this finds is all there will ever be.
    """
    held: dict[str, Task | None] = {}
    while new := [one.id for one in tx.tasks_below(task.id) if one.id not in held]:
        held |= {task_id: tx.task(task_id, lock=True) for task_id in new}
    return [one for one in held.values() if one is not None]


def _close(tx: Transaction, task: Task, reason: str, by: str) -> None:
    """End one locked task; its waiting grants are withdrawn."""
    ended = task.ended(reason, tx.now())
    tx.save_task(ended)
    tx.record(task_fact(FactKind.TASK_ENDED, ended, by, reason))
    for grant in _undecided(tx, task.id):
        tx.save_grant(grant.moved(GrantState.WITHDRAWN))
        tx.record(grant_fact(FactKind.GRANT_WITHDRAWN, grant, task, by, "task_ended"))


def end_overdue_tasks(broker: Broker, limit: int = 64) -> int:
    """End tasks whose deadline has passed, that fell silent, or whose parent has ended; how many.

    Each on its own: those under it are left by their parent then, and come with the next look.
    """
    with broker.store.transaction() as tx:
        overdue = tx.tasks_overdue(limit)
        for task in overdue:
            _close(tx, task, _why_overdue(task, tx.now()), CLOCK)
        held = (lease for task in overdue for lease in tx.leases_of_task(task.id))
        oldest_first = sorted(held, key=lambda lease: lease.id)
        mark_ending(tx, _locked(tx, oldest_first), "task_ended", CLOCK)
    return len(overdue)


def _why_overdue(task: Task, now: datetime) -> str:
    if now >= task.deadline_at:
        return "deadline"
    silent = task.silent_at is not None and now >= task.silent_at
    return "heartbeat_missed" if silent else "parent_ended"


def may_end(caller: Caller, task: Task) -> bool:
    """The task's agent with the key that started it, its owner, operators; auditors only look.

    And the person on whose behalf it is.
    """
    if caller.agent_id is not None:
        return may_see(caller, task)
    own = caller.email == task.owner or is_for(caller, task)
    return "operator" in caller.roles or own


def may_see(caller: Caller, task: Task) -> bool:
    """The task's agent with the key that started it, its owner, operators and auditors.

    And the person on whose behalf it is.
    """
    if caller.agent_id is not None:
        return (caller.agent_id, caller.jkt) == (task.agent_id, task.starter_jkt)
    own = caller.email == task.owner or is_for(caller, task)
    return bool(caller.roles & {"operator", "auditor"}) or own


def is_for(caller: Caller, task: Task) -> bool:
    """Whether it acts on behalf of the calling person."""
    return caller.kind == "person" and task.on_behalf_of == str(caller.principal)


def _undecided(tx: Transaction, task_id: str) -> list[Grant]:
    """Grants that wait, or were approved but not collected; looked at again, rows locked."""
    states = (GrantState.WAITING, GrantState.APPROVED)
    seen = [grant for state in states for grant in tx.grants(state, task_id)]
    locked = [tx.grant(grant.id, lock=True) for grant in seen]
    return [grant for grant in locked if grant is not None and grant.state in states]


def _locked(tx: Transaction, leases: Sequence[Lease]) -> list[Lease]:
    """Those that live, locked oldest first; what is on its way out is left to who moves it."""
    locked = (tx.lease(lease.id, lock=True) for lease in leases if lease.state in LIVE)
    return [lease for lease in locked if lease is not None]
