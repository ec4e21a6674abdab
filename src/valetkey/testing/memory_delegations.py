"""The memory store's delegations, and what is done on people's behalf."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.core.lease import Lease
from valetkey.core.on_behalf import Delegation
from valetkey.core.task import Task, TaskState
from valetkey.testing.memory_tasks import _State


class MemoryDelegations:
    """What a transaction of the memory store can say of delegations."""

    @property
    def _state(self) -> _State:
        raise NotImplementedError

    def delegation(
        self, delegation_id: str, *, lock: bool = False, share: bool = False
    ) -> Delegation | None:
        return self._state.delegations.get(delegation_id)

    def delegations(self, person: str | None, agent_id: str | None) -> Sequence[Delegation]:
        found = [
            x
            for x in self._state.delegations.values()
            if person in (None, x.person.principal, x.person.email)
            and agent_id in (None, x.agent_id)
        ]
        return sorted(found, key=lambda delegation: delegation.id, reverse=True)

    def add_delegation(self, delegation: Delegation) -> None:
        self._state.delegations[delegation.id] = delegation

    save_delegation = add_delegation

    def open_tasks_on(self, delegation_id: str) -> Sequence[Task]:
        resting = (x for x in self._state.tasks.values() if x.delegation_id == delegation_id)
        return sorted((x for x in resting if x.state is TaskState.OPEN), key=lambda task: task.id)

    def tasks_for(self, principal: str) -> Sequence[Task]:
        found = (x for x in self._state.tasks.values() if x.on_behalf_of == principal)
        return sorted(found, key=lambda task: task.id, reverse=True)

    def leases_for(self, principal: str) -> Sequence[Lease]:
        tasks = {task.id for task in self.tasks_for(principal)}
        found = (x for x in self._state.leases.values() if x.task_id in tasks)
        return sorted(found, key=lambda lease: lease.id, reverse=True)
