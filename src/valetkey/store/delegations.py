"""Queries over delegations: who lets whom act for them, and what is done on their behalf."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from valetkey.core.lease import Lease
from valetkey.core.on_behalf import Delegation
from valetkey.core.task import Task
from valetkey.store import mapping
from valetkey.store.people import delegations, of_person
from valetkey.store.session import Session, all_of, by_id
from valetkey.store.tables import leases, tasks

NEWEST = 500


class Delegated(Session):
    """What people let agents do for them."""

    def delegation(
        self, delegation_id: str, *, lock: bool = False, share: bool = False
    ) -> Delegation | None:
        """One delegation."""
        hold = by_id(delegations, "change" if lock else "share" if share else "")
        row = self._one(hold, {"id": delegation_id})
        return mapping.delegation_from(row) if row else None

    def delegations(self, person: str | None, agent_id: str | None) -> Sequence[Delegation]:
        """The newest, of a person, of an agent, or all."""
        conditions = all_of(
            of_person(person) if person is not None else None,
            delegations.c.agent_id == agent_id if agent_id is not None else None,
        )
        query = select(delegations).where(*conditions).order_by(delegations.c.id.desc())
        return [mapping.delegation_from(row) for row in self._many(query.limit(NEWEST))]

    def add_delegation(self, delegation: Delegation) -> None:
        """Write a new one."""
        self._insert(delegations, mapping.delegation_row(delegation))

    def save_delegation(self, delegation: Delegation) -> None:
        """Write it as it is now."""
        self._update(delegations, mapping.delegation_row(delegation))

    def open_tasks_on(self, delegation_id: str) -> Sequence[Task]:
        """The open root tasks that rest on it, oldest first."""
        resting = select(tasks).where(
            tasks.c.delegation_id == delegation_id, tasks.c.state == "open"
        )
        return [mapping.task_from(row) for row in self._many(resting.order_by(tasks.c.id))]

    def tasks_for(self, principal: str) -> Sequence[Task]:
        """The newest tasks that act for a person."""
        query = select(tasks).where(tasks.c.on_behalf_of == principal)
        query = query.order_by(tasks.c.id.desc()).limit(NEWEST)
        return [mapping.task_from(row) for row in self._many(query)]

    def leases_for(self, principal: str) -> Sequence[Lease]:
        """The newest leases of such tasks."""
        query = select(leases).join(tasks, tasks.c.id == leases.c.task_id)
        query = query.where(tasks.c.on_behalf_of == principal)
        query = query.order_by(leases.c.id.desc()).limit(NEWEST)
        return [mapping.lease_from(row) for row in self._many(query)]
