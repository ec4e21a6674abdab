"""What a transaction knows of people who let agents act for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from valetkey.core.lease import Lease
from valetkey.core.on_behalf import Delegation
from valetkey.core.task import Task


class Delegations(Protocol):
    """The delegations; the row of one is locked before those of tasks that rest on it."""

    def delegation(
        self, delegation_id: str, *, lock: bool = False, share: bool = False
    ) -> Delegation | None:
        """One delegation."""

    def delegations(self, person: str | None, agent_id: str | None) -> Sequence[Delegation]:
        """The newest, of a person (principal or e-mail in small letters), of an agent, or all."""

    def add_delegation(self, delegation: Delegation) -> None:
        """Write a new one."""

    def save_delegation(self, delegation: Delegation) -> None:
        """Write that one was taken back."""

    def open_tasks_on(self, delegation_id: str) -> Sequence[Task]:
        """The open root tasks that rest on a delegation, oldest first."""

    def tasks_for(self, principal: str) -> Sequence[Task]:
        """The newest tasks that act for a person, at any depth, newest first."""

    def leases_for(self, principal: str) -> Sequence[Lease]:
        """The newest leases of such tasks, newest first."""
