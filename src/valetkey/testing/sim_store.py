"""SimStore: the Store port with PostgreSQL's READ COMMITTED, one step at a time.

Each statement sees what was committed when it began, and its own transaction's writes. One that
locks a row waits for it and then reads that row again, but nothing else (PostgreSQL 17, 13.2.1):
what it had read of other rows may be old. New rows are written, and their references and unique
keys locked, with the next statement, as the real store does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast

from valetkey.core.admission import Ceilings
from valetkey.core.agent import Agent
from valetkey.core.decision import Decision
from valetkey.core.errors import StoreUnavailable
from valetkey.core.facts import Fact, HistoryQuery, RecordedFact
from valetkey.core.grant import Approval, Grant
from valetkey.core.kill import Height, Kill, Reach
from valetkey.core.lease import LIVE, UNENDED, Lease
from valetkey.core.task import Task
from valetkey.ports import Duty, Mine, Standing
from valetkey.testing.memory_due import duties_due, is_of
from valetkey.testing.memory_store import MemoryStore, MemoryTransaction
from valetkey.testing.sim_delegations import SimDelegations
from valetkey.testing.sim_locks import KEY_SHARE, NO_KEY_UPDATE, SHARE, UPDATE, Key, Locks
from valetkey.testing.sim_proposals import SimProposals
from valetkey.testing.sim_readings import SimReadings
from valetkey.testing.sim_rules import SimRules
from valetkey.testing.sim_sealed import SimSealed
from valetkey.testing.sim_session import SimSession, overlay
from valetkey.testing.sim_steps import Alone, Steps

BARRIER: Key = ("kill", "barrier")
EVERY = 1_000_000


class SimStore(MemoryStore):
    """Committed rows, locks, and a watcher that sees each commit just before it counts."""

    def __init__(self, steps: Steps | None = None) -> None:
        super().__init__()
        self.steps: Steps = steps or Alone()
        self.locks = Locks(self.steps)
        self.watch: Callable[[SimSession], None] = lambda tx: None

    @contextmanager
    def transaction(self) -> Iterator[SimTransaction]:  # type: ignore[override]  # its own kind
        """Begin; commit when the block is left, keep nothing when it raises.

        Raises StoreUnavailable when an omen says so; after a lost commit the rows are kept.
        """
        self.steps.step("begin")
        if self.steps.omen("begin") != "ok":
            raise StoreUnavailable(retry_after=2)
        tx = self.begin()
        try:
            yield tx
            tx.commit()
        finally:
            self.locks.release(tx)

    def due(self) -> frozenset[Duty]:
        """One statement of its own: it sees what is committed, and locks nothing."""
        self.steps.step("due")
        if self.steps.omen("begin") != "ok":
            raise StoreUnavailable(retry_after=2)
        return duties_due(self.begin().seen())

    def begin(self) -> SimTransaction:
        """A new transaction; variants of the store begin their own kind."""
        return SimTransaction(self)

    def keep(self, tx: SimSession) -> None:
        """Make a transaction's writes what everybody sees."""
        self.watch(tx)
        for table, rows in tx.own.items():
            overlay(getattr(self.state, table), rows)
        for fact in tx.facts:
            self.state.facts.append(RecordedFact(len(self.state.facts) + 1, self.time, fact))


class SimTransaction(SimReadings, SimProposals, SimSealed, SimDelegations, SimRules):
    """Every query of the port."""

    def hold_barrier(self) -> None:
        self._statement("hold barrier")
        self._take(BARRIER, SHARE, fair=True)

    def close_barrier(self) -> None:
        self._statement("close barrier")
        self._take(BARRIER, UPDATE, fair=True)

    def try_lead(self, duty: str) -> bool:
        self._statement("try lead", duty)
        return self.store.locks.try_take(self, ("duty", duty), UPDATE)

    # --- kills -----------------------------------------------------------------------------

    def kills_over(self, reach: Reach) -> Sequence[Kill]:
        self._statement("kills over")
        return self._snapshot.kills_over(reach)

    def kills_in_force(self) -> Sequence[Kill]:
        self._statement("kills in force")
        return self._snapshot.kills_in_force()

    def kills_unfinished(self) -> Sequence[Kill]:
        self._statement("kills unfinished")
        return self._snapshot.kills_unfinished()

    def kill(self, kill_id: str) -> Kill | None:
        return cast("Kill | None", self._row("kills", kill_id, UPDATE))

    def has_subject(self, height: Height, subject: str) -> bool:
        self._statement("has subject", subject)
        return self._snapshot.has_subject(height, subject)

    def add_kill(self, kill: Kill) -> None:
        self._insert("kills", kill)

    def save_kill(self, kill: Kill) -> None:
        self._update("kills", kill)

    # --- agents ----------------------------------------------------------------------------

    def agent(self, agent_id: str, *, lock: bool = False) -> Agent | None:
        return cast("Agent | None", self._row("agents", agent_id, UPDATE if lock else 0))

    def agent_named(self, name: str) -> Agent | None:
        self._statement("agent named", name)
        return self._snapshot.agent_named(name)

    def agents(self) -> Sequence[Agent]:
        self._statement("agents")
        return self._snapshot.agents()

    def add_agent(self, agent: Agent) -> bool:
        self._statement("add agent", agent.id)
        self._take(("agents.name", agent.name), UPDATE)
        if self._snapshot.agent_named(agent.name):
            return False
        self._write("agents", agent)
        return True

    def save_agent(self, agent: Agent) -> None:
        self._update("agents", agent)

    def revoke_token(self, token_id: str, until: datetime) -> bool:
        self._statement("revoke token", token_id)
        self._take(("uses.revoked", token_id), UPDATE)
        new = token_id not in self._snapshot.state.revoked
        self.own.setdefault("revoked", {})[token_id] = token_id
        return new

    # --- tasks -----------------------------------------------------------------------------

    def task(self, task_id: str, *, lock: bool = False, share: bool = False) -> Task | None:
        return cast("Task | None", self._row("tasks", task_id, _strength(lock, share)))

    def standing(
        self, task_id: str, scope: str | None = None, lease_id: str | None = None
    ) -> Standing | None:
        """Only the task is read again after waiting for it; agent and kills are as they were."""
        self._statement("standing of", task_id)
        standing = self._snapshot.standing(task_id, scope, lease_id)
        if standing is not None and self._take(("tasks", task_id), SHARE):
            standing = replace(standing, task=self._snapshot.state.tasks[task_id])
        return standing

    def tasks(self, agent_id: str | None, owner: str | None) -> Sequence[Task]:
        self._statement("tasks")
        return self._snapshot.tasks(agent_id, owner)

    def tasks_below(self, task_id: str) -> Sequence[Task]:
        self._statement("tasks below", task_id)
        return self._snapshot.tasks_below(task_id)

    def open_tasks_of(self, agent_id: str) -> Sequence[Task]:
        self._statement("open tasks of", agent_id)
        return self._snapshot.open_tasks_of(agent_id)

    def opened_by(self, agent_id: str, most: int) -> int:
        self._statement("turn of tasks of", agent_id)
        self._take(("turn", f"tasks of {agent_id}"), UPDATE, fair=True)
        self._statement("opened by", agent_id)
        return self._snapshot.opened_by(agent_id, most)

    def spend(self, task_ids: Sequence[str]) -> bool:
        """The budgets are locked from the root down, then read again."""
        self._statement("spend", " ".join(task_ids))
        tasks = [self._snapshot.state.tasks[task_id] for task_id in task_ids]
        most = {x.id: x.max_credentials for x in tasks if x.max_credentials is not None}
        for task_id in sorted(most):
            self._take(("budgets", task_id), UPDATE)
        spent = {task_id: self._snapshot.state.budgets.get(task_id, 0) for task_id in most}
        if any(spent[task_id] >= limit for task_id, limit in most.items()):
            return False
        self.own.setdefault("budgets", {}).update({x: used + 1 for x, used in spent.items()})
        return True

    def tasks_overdue(self, limit: int) -> Sequence[Task]:
        self._statement("tasks overdue")
        return self._unlocked("tasks", self._snapshot.tasks_overdue(EVERY), limit)

    def add_task(self, task: Task) -> None:
        self._insert("tasks", task)

    def save_task(self, task: Task) -> None:
        self._update("tasks", task)

    # --- decisions, grants, approvals ------------------------------------------------------

    def record_decision(self, decision_id: str, decision: Decision) -> None:
        self.own.setdefault("decisions", {})[decision_id] = decision

    def decision(self, decision_id: str) -> Mapping[str, object] | None:
        self._statement("decision", decision_id)
        return self._snapshot.decision(decision_id)

    def grant(self, grant_id: str, *, lock: bool = False) -> Grant | None:
        return cast("Grant | None", self._row("grants", grant_id, UPDATE if lock else 0))

    def grant_by_key(self, task_id: str, idempotency_key: str) -> Grant | None:
        self._statement("turn of", idempotency_key)
        self._take(("turn", f"{task_id} {idempotency_key}"), UPDATE, fair=True)
        self._statement("grant of", idempotency_key)
        found = self._snapshot.grant_by_key(task_id, idempotency_key)
        return self._again("grants", found, UPDATE) if found else None

    def grants(self, state: str | None, task_id: str | None) -> Sequence[Grant]:
        self._statement("grants")
        return self._snapshot.grants(state, task_id)

    def grants_overdue(self, state: str, now: datetime) -> Sequence[Grant]:
        self._statement("grants overdue")
        return self._unlocked("grants", self._snapshot.grants_overdue(state, now), EVERY)

    def add_grant(self, grant: Grant) -> None:
        self._insert("grants", grant)

    def save_grant(self, grant: Grant) -> None:
        self._update("grants", grant)

    def add_approval(self, approval: Approval) -> None:
        self._statement("add approval", approval.grant_id)
        self._take(("grants", approval.grant_id), KEY_SHARE)
        self._take(("approvals.by", f"{approval.grant_id} {approval.approver}"), UPDATE)
        others = self._snapshot.approvals(approval.grant_id)
        if all(x.approver != approval.approver for x in others):
            self._write("approvals", approval)

    def approvals(self, grant_id: str) -> Sequence[Approval]:
        self._statement("approvals", grant_id)
        return self._snapshot.approvals(grant_id)

    # --- leases ----------------------------------------------------------------------------

    def lease(self, lease_id: str, *, lock: bool = False) -> Lease | None:
        return cast("Lease | None", self._row("leases", lease_id, UPDATE if lock else 0))

    def add_lease(self, lease: Lease) -> None:
        self._insert("leases", lease)

    def save_lease(self, lease: Lease) -> bool:
        """Compare and set on the fence; one that is being changed is waited for, then compared."""
        self._statement("save", lease.id)
        for _ in range(2):  # before the lock, as the statement's snapshot has it, and under it
            current = self._snapshot.state.leases.get(lease.id)
            if current is None or current.fence != lease.fence:
                return False
            self._take(("leases", lease.id), NO_KEY_UPDATE)
        self._write("leases", replace(lease, fence=lease.fence + 1))
        return True

    def leases_of_task(self, task_id: str) -> Sequence[Lease]:
        self._statement("leases of", task_id)
        return self._snapshot.leases_of_task(task_id)

    def leases_of_grant(self, grant_id: str) -> Sequence[Lease]:
        self._statement("leases of", grant_id)
        return self._snapshot.leases_of_grant(grant_id)

    def leases(self, state: str | None, agent_id: str | None, owner: str | None) -> Sequence[Lease]:
        self._statement("leases")
        return self._snapshot.leases(state, agent_id, owner)

    def left_alone(self, minters: Collection[str], limit: int) -> Sequence[Lease]:
        self._statement("left alone")
        return self._snapshot.left_alone(minters, limit)

    def recent_ends(self, limit: int) -> Sequence[Lease]:
        self._statement("recent ends")
        return self._snapshot.recent_ends(limit)

    def unended_leases(self) -> Sequence[Lease]:
        self._statement("unended leases")
        return self._snapshot.unended_leases()

    def leases_of_secret(self, prints: Sequence[str]) -> Sequence[Lease]:
        self._statement("leases of a secret")
        return self._snapshot.leases_of_secret(prints)

    def ceiling_reached(self, reach: Reach, ceilings: Ceilings) -> str | None:
        """As if always near: whoever counts keeps others of that target from counting."""
        self._statement("room in", reach.target or "")
        self._take(("room", reach.target or ""), UPDATE)
        self._statement("count in", reach.target or "")
        return self._snapshot.ceiling_reached(reach, ceilings)

    def unended_at(self, place: str) -> Sequence[Lease]:
        self._statement("unended at", place)
        seen = self._snapshot.unended_at(place)
        locked = [self._again("leases", lease, UPDATE) for lease in seen]
        return [lease for lease in locked if lease.state in UNENDED]

    def unended_probes(self, target: str) -> Sequence[Lease]:
        self._statement("unended probes of", target)
        return self._snapshot.unended_probes(target)

    def live_leases(self, kill: Kill, limit: int) -> Sequence[Lease]:
        """Locked one after the other; one that stopped living meanwhile is left out."""
        self._statement("live leases under", kill.id)
        locked: list[Lease] = []
        for seen in self._snapshot.live_leases(kill, EVERY):
            lease = self._again("leases", seen, UPDATE)
            if lease.state in LIVE:
                locked.append(lease)
            if len(locked) == limit:
                break
        return locked

    def leases_under(self, kill: Kill) -> Sequence[Lease]:
        self._statement("leases under", kill.id)
        return self._snapshot.leases_under(kill)

    def claim_due(
        self,
        limit: int,
        claim: timedelta,
        only: Sequence[str],
        but_targets: Sequence[str],
        mine: Mine | None = None,
    ) -> Sequence[Lease]:
        self._statement("claim due", " ".join(only))
        now = self.now()
        due = [
            x
            for x in self._snapshot.state.leases.values()
            if x.state in UNENDED
            and x.due_at is not None
            and x.due_at <= now
            and (not only or x.id in only)
            and x.target not in but_targets
            and (mine is None or is_of(mine, x, now))
        ]
        due.sort(key=lambda x: (x.due_at, x.id))
        claimed = [
            replace(x, due_at=now + claim, tries=x.tries + 1, fence=x.fence + 1)
            for x in self._unlocked("leases", due, limit)
        ]
        for lease in claimed:
            self._write("leases", lease)
        return claimed

    # --- history ---------------------------------------------------------------------------

    def record(self, fact: Fact) -> None:
        self.facts.append(fact)

    def history(self, query: HistoryQuery) -> Sequence[RecordedFact]:
        self._statement("history")
        store, kept = self.store, len(self.store.state.facts)
        own = [RecordedFact(kept + n, store.time, x) for n, x in enumerate(self.facts, 1)]
        there = MemoryStore()
        there.state.facts = store.state.facts + own
        return MemoryTransaction(there).history(query)


def _strength(lock: bool, share: bool) -> int:
    return UPDATE if lock else SHARE if share else 0
