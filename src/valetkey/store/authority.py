"""Queries over agents, bindings, tasks, decisions, grants and approvals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row, tuple_row
from sqlalchemy import Table, and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert as pg_insert

from valetkey.core.agent import Agent, Binding
from valetkey.core.decision import Decision
from valetkey.core.grant import Approval, Grant
from valetkey.core.task import Task
from valetkey.ports import Standing
from valetkey.store import mapping
from valetkey.store.session import KEY, Hold, Session, all_of, by_id
from valetkey.store.standing import ABOVE, STANDING, standing_from, under
from valetkey.store.tables import (
    REVOKED,
    agents,
    approvals,
    bindings,
    budgets,
    decisions,
    grants,
    tasks,
    uses,
)

NEWEST = 500
_CLOCK = func.statement_timestamp()
_PARENT = tasks.alias("parent")
"""The database's time in a form that an index can be searched by, for it moves not meanwhile."""
_BUDGETS = """
SELECT spent, max_credentials FROM budgets WHERE task_id = ANY(%(tasks)s)
ORDER BY task_id FOR UPDATE
"""
_OPENED_BY = """
(SELECT FROM tasks WHERE agent_id = %(agent)s AND state = 'open' AND parent_id IS NULL
 LIMIT %(most)s)
UNION ALL
(SELECT FROM tasks up JOIN tasks c ON c.parent_id = up.id
 WHERE up.agent_id = %(agent)s AND up.state = 'open' AND c.state = 'open' LIMIT %(most)s)
LIMIT %(most)s
"""
_SPEND = "UPDATE budgets SET spent = spent + 1 WHERE task_id = ANY(%(tasks)s)"
_TURN = f"SELECT pg_advisory_xact_lock({KEY}, hashtext(%(name)s))"


class Authority(Session):
    """Who may do what, and who said so."""

    def agent(self, agent_id: str, *, lock: bool = False) -> Agent | None:
        """One agent by id."""
        row = self._one(by_id(agents, _hold(lock)), {"id": agent_id})
        return mapping.agent_from(row) if row else None

    def agent_named(self, name: str) -> Agent | None:
        """One agent by name."""
        row = self._one(_AGENT_NAMED, {"name": name})
        return mapping.agent_from(row) if row else None

    def agents(self) -> Sequence[Agent]:
        """All agents by name."""
        return [mapping.agent_from(row) for row in self._many(select(agents).order_by("name"))]

    def add_agent(self, agent: Agent) -> bool:
        """False when the name is taken."""
        return self._add_unless_taken(agents, mapping.agent_row(agent))

    def save_agent(self, agent: Agent) -> None:
        """Write an agent as it is now."""
        self._update(agents, mapping.agent_row(agent))

    def bindings(self, agent_id: str) -> Sequence[Binding]:
        """The identities bound to an agent."""
        query = select(bindings).where(bindings.c.agent_id == agent_id).order_by(bindings.c.id)
        return [mapping.binding_from(row) for row in self._many(query)]

    def bindings_of_issuer(self, issuer: str) -> Sequence[Binding]:
        """The identities bound under one issuer."""
        rows = self._each(_BINDINGS_OF_ISSUER, {"issuer": issuer})
        return [mapping.binding_from(row) for row in rows]

    def add_binding(self, binding: Binding) -> bool:
        """False when the same identity is bound already."""
        return self._add_unless_taken(bindings, mapping.binding_row(binding))

    def revoke_token(self, token_id: str, until: datetime) -> bool:
        """Refuse a token of ours until its end; kept with what was used."""
        row = {"slot": REVOKED, "key": token_id, "jkt": "", "until": until}
        new = pg_insert(uses).values(row).on_conflict_do_nothing().returning(uses.c.key)
        return self._connection.execute(new).first() is not None

    def task(self, task_id: str, *, lock: bool = False, share: bool = False) -> Task | None:
        """One task; `share` keeps it from ending until we commit."""
        row = self._one(by_id(tasks, "share" if share else _hold(lock)), {"id": task_id})
        return mapping.task_from(row) if row else None

    def standing(
        self, task_id: str, scope: str | None = None, lease_id: str | None = None
    ) -> Standing | None:
        """The task held against ending, its agent, and the kills over both, in one statement."""
        target = scope.partition(":")[0] if scope else None
        about = {"task_id": task_id, "target": target, "lease_id": lease_id}
        standing = standing_from(self._joined(STANDING, about), scope, lease_id)
        if standing is None or not standing.task.ancestors:
            return standing
        return under(standing, self._joined(ABOVE, {"ancestors": list(standing.task.ancestors)}))

    def tasks(self, agent_id: str | None, owner: str | None) -> Sequence[Task]:
        """The newest tasks."""
        conditions = all_of(
            tasks.c.agent_id == agent_id if agent_id else None,
            tasks.c.owner == owner if owner else None,
        )
        query = select(tasks).where(*conditions).order_by(tasks.c.id.desc()).limit(NEWEST)
        return [mapping.task_from(row) for row in self._many(query)]

    def tasks_overdue(self, limit: int) -> Sequence[Task]:
        """Open tasks past their deadline, fallen silent or left by their parent, locked."""
        ended = select(_PARENT.c.id).where(
            _PARENT.c.id == tasks.c.parent_id, _PARENT.c.state == "ended"
        )
        left = and_(tasks.c.parent_id.is_not(None), ended.exists())
        late = or_(tasks.c.deadline_at <= _CLOCK, tasks.c.silent_at <= _CLOCK, left)
        query = (
            select(tasks)
            .where(tasks.c.state == "open", late)
            .order_by(tasks.c.deadline_at)
            .limit(limit)
            .with_for_update(skip_locked=True, of=tasks)
        )
        return [mapping.task_from(row) for row in self._many(query)]

    def tasks_below(self, task_id: str) -> Sequence[Task]:
        """Every task under this one."""
        under = select(tasks).where(tasks.c.parent_id == task_id).cte("under", recursive=True)
        deeper = select(tasks).join(under, tasks.c.parent_id == under.c.id)
        query = select(under.union_all(deeper)).order_by("id")
        return [mapping.task_from(row) for row in self._many(query)]

    def open_tasks_of(self, agent_id: str) -> Sequence[Task]:
        """The open tasks of an agent."""
        query = select(tasks).where(tasks.c.agent_id == agent_id, tasks.c.state == "open")
        return [mapping.task_from(row) for row in self._many(query.order_by(tasks.c.id))]

    def opened_by(self, agent_id: str, most: int) -> int:
        """How many open tasks an agent opened, up to `most`: roots, and under its own.

        In a statement after the lock, which sees what others wrote before they gave it back.
        """
        self._run_before(tuple_row, _TURN, {"name": f"tasks of {agent_id}"})
        whose = {"agent": agent_id, "most": most}
        return len(self._run(tuple_row, _OPENED_BY, whose).fetchall())

    def spend(self, task_ids: Sequence[str]) -> bool:
        """One credential of each budget, locked from the root down; or none of any."""
        whose = {"tasks": list(task_ids)}
        held = self._run(dict_row, _BUDGETS, whose).fetchall()
        if any(row["spent"] >= row["max_credentials"] for row in held):
            return False
        if held:
            self._run(tuple_row, _SPEND, whose)
        return True

    def add_task(self, task: Task) -> None:
        """Write a new task, with its budget if it has one."""
        self._insert(tasks, mapping.task_row(task))
        if task.max_credentials is not None:
            most = task.max_credentials
            row = {"task_id": task.id, "max_credentials": most, "spent": 0}
            self._insert(budgets, row)

    def save_task(self, task: Task) -> None:
        """Write a task as it is now."""
        self._update(tasks, mapping.task_row(task))

    def record_decision(self, decision_id: str, decision: Decision) -> None:
        """Keep a decision with its whole input."""
        row = mapping.decision_row(decision_id, decision)
        self._insert(decisions, {**row, "at": self.now()})

    def decision(self, decision_id: str) -> Mapping[str, object] | None:
        """A recorded decision as plain values."""
        return self._one(by_id(decisions), {"id": decision_id})

    def grant(self, grant_id: str, *, lock: bool = False) -> Grant | None:
        """One grant."""
        row = self._one(by_id(grants, _hold(lock)), {"id": grant_id})
        return mapping.grant_from(row) if row else None

    def grant_by_key(self, task_id: str, idempotency_key: str) -> Grant | None:
        """The grant of this key; askers of one key wait for each other here."""
        self._run(tuple_row, _TURN, {"name": f"{task_id} {idempotency_key}"})
        row = self._one(_GRANT_BY_KEY, {"task": task_id, "key": idempotency_key})
        return mapping.grant_from(row) if row else None

    def grants(self, state: str | None, task_id: str | None) -> Sequence[Grant]:
        """The newest grants."""
        conditions = all_of(
            grants.c.state == state if state else None,
            grants.c.task_id == task_id if task_id else None,
        )
        query = select(grants).where(*conditions).order_by(grants.c.id.desc()).limit(NEWEST)
        return [mapping.grant_from(row) for row in self._many(query)]

    def grants_overdue(self, state: str, now: datetime) -> Sequence[Grant]:
        """Grants of that state that waited too long, locked."""
        query = select(grants).where(grants.c.state == state, grants.c.waits_until <= now)
        query = query.limit(64).with_for_update(skip_locked=True)
        return [mapping.grant_from(row) for row in self._many(query)]

    def add_grant(self, grant: Grant) -> None:
        """Write a new grant."""
        self._insert(grants, mapping.grant_row(grant))

    def save_grant(self, grant: Grant) -> None:
        """Write a grant as it is now."""
        self._update(grants, mapping.grant_row(grant))

    def add_approval(self, approval: Approval) -> None:
        """Write one verdict; the same person's second verdict replaces nothing."""
        self._add_unless_taken(approvals, mapping.approval_row(approval))

    def approvals(self, grant_id: str) -> Sequence[Approval]:
        """The verdicts on a grant."""
        query = select(approvals).where(approvals.c.grant_id == grant_id).order_by("at")
        return [mapping.approval_from(row) for row in self._many(query)]

    def _add_unless_taken(self, table: Table, row: Mapping[str, Any]) -> bool:
        added = pg_insert(table).on_conflict_do_nothing().returning(table.c.id)
        return self._connection.execute(added, row).first() is not None


def _hold(lock: bool) -> Hold:
    return "change" if lock else ""


_AGENT_NAMED = select(agents).where(agents.c.name == bindparam("name"))
_BINDINGS_OF_ISSUER = (
    select(bindings).where(bindings.c.issuer == bindparam("issuer")).order_by(bindings.c.id)
)
_GRANT_BY_KEY = (
    select(grants)
    .where(grants.c.task_id == bindparam("task"), grants.c.idempotency_key == bindparam("key"))
    .with_for_update()
)
