"""What the simulated store knows of delegations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from valetkey.core.lease import Lease
from valetkey.core.on_behalf import Delegation
from valetkey.core.task import Task
from valetkey.testing.sim_locks import SHARE, UPDATE
from valetkey.testing.sim_session import SimSession


class SimDelegations(SimSession):
    """Part of the Transaction port; whoever opens a task on one holds its row shared."""

    def delegation(
        self, delegation_id: str, *, lock: bool = False, share: bool = False
    ) -> Delegation | None:
        strength = UPDATE if lock else SHARE if share else 0
        return cast("Delegation | None", self._row("delegations", delegation_id, strength))

    def delegations(self, person: str | None, agent_id: str | None) -> Sequence[Delegation]:
        self._statement("delegations")
        return self._snapshot.delegations(person, agent_id)

    def add_delegation(self, delegation: Delegation) -> None:
        self._insert("delegations", delegation)

    def save_delegation(self, delegation: Delegation) -> None:
        self._update("delegations", delegation)

    def open_tasks_on(self, delegation_id: str) -> Sequence[Task]:
        self._statement("open tasks on", delegation_id)
        return self._snapshot.open_tasks_on(delegation_id)

    def tasks_for(self, principal: str) -> Sequence[Task]:
        self._statement("tasks for", principal)
        return self._snapshot.tasks_for(principal)

    def leases_for(self, principal: str) -> Sequence[Lease]:
        self._statement("leases for", principal)
        return self._snapshot.leases_for(principal)
