"""Tasks: bounded pieces of work. Authority is given for a task and dies with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from valetkey.core.errors import NotFound, OutsideTask, TaskEnded
from valetkey.core.scope import Scope, within_any


class TaskState(StrEnum):
    """A task is open until it ends, by its agent, its deadline, or a kill."""

    OPEN = "open"
    ENDED = "ended"


@dataclass(frozen=True)
class Task:
    """One piece of work. `purpose` is an untrusted claim for people; it never decides."""

    id: str
    agent_id: str
    owner: str
    purpose: str
    scopes: tuple[Scope, ...]
    starter_jkt: str
    started_at: datetime
    deadline_at: datetime
    state: TaskState = TaskState.OPEN
    ended_at: datetime | None = None
    end_reason: str | None = None
    decision_id: str | None = None
    on_behalf_of: str | None = None
    parent_id: str | None = None

    @property
    def receipt_id(self) -> str:
        """The receipt's id, the same for ever."""
        return "receipt_" + self.id.removeprefix("task_")

    def belongs_to(self, agent_id: str | None, jkt: str) -> None:
        """Raise NotFound for anyone but its agent with the key that started it."""
        if self.agent_id != agent_id or self.starter_jkt != jkt:
            raise NotFound()

    def is_open(self, now: datetime) -> None:
        """Raise TaskEnded when it has ended or its deadline has passed."""
        if self.state is TaskState.ENDED or now >= self.deadline_at:
            raise TaskEnded()

    def declares(self, scope: Scope) -> None:
        """Raise OutsideTask when the task did not say it may need this scope."""
        if not within_any(scope, self.scopes):
            raise OutsideTask()

    def ended(self, reason: str, at: datetime) -> Task:
        """The same task, ended; a second end changes nothing."""
        if self.state is TaskState.ENDED:
            return self
        return replace(self, state=TaskState.ENDED, end_reason=reason, ended_at=at)
