"""Tasks: bounded pieces of work. Authority is given for a task and dies with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from valetkey.core.errors import (
    InvalidRequest,
    NotFound,
    OutsideTask,
    StaleHeartbeat,
    TaskEnded,
)
from valetkey.core.scope import Scope, within_any


class TaskState(StrEnum):
    """A task is open until it ends, by its agent, its deadline, or a kill."""

    OPEN = "open"
    ENDED = "ended"


@dataclass(frozen=True)
class Task:
    """One piece of work. `purpose` is an untrusted claim for people; it never decides.

    `issuer` names the issuer record that the identity which started or took it came from. With a
    `heartbeat` the task ends at `silent_at` unless it beats before; `beat_fence` is what the next
    beat must show, so that a process that was replaced while it slept beats no more.

    A child task was opened under another one: `parent_id`, and `ancestors` from the root down to
    that parent. Without a `starter_jkt` it waits for its agent to take it with a key of its own.
    `max_credentials` is how many it and all below it may be given in all, None without a limit.

    `on_behalf_of` is the principal, as one text, of the person it acts for; a root task rests on
    that person's delegation, `delegation_id`, and those under it rest on the root.
    """

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
    issuer: str | None = None
    heartbeat: timedelta | None = None
    silent_at: datetime | None = None
    beat_fence: int = 0
    ancestors: tuple[str, ...] = ()
    max_credentials: int | None = None
    delegation_id: str | None = None

    @property
    def depth(self) -> int:
        """How many tasks stand above it."""
        return len(self.ancestors)

    @property
    def receipt_id(self) -> str:
        """The receipt's id, the same for ever."""
        return "receipt_" + self.id.removeprefix("task_")

    def belongs_to(self, agent_id: str | None, jkt: str) -> None:
        """Raise NotFound for anyone but its agent with the key that started or took it."""
        self.was_taken(agent_id)
        if not jkt or self.agent_id != agent_id or self.starter_jkt != jkt:
            raise NotFound()

    def was_taken(self, agent_id: str | None) -> None:
        """Raise NotFound, with what to do first, for the agent that has yet to take it."""
        if not self.starter_jkt and self.agent_id == agent_id:
            raise NotFound("the task was opened for you and is not taken yet: take it first")

    def taken(self, agent_id: str | None, jkt: str, issuer: str | None, now: datetime) -> Task:
        """The same task, bound to the key of its agent; taking it twice changes nothing.

        `issuer` is whose word that key rests on.

        Raises NotFound for another agent, or when another key has taken it; TaskEnded.
        """
        if self.agent_id != agent_id or self.starter_jkt not in ("", jkt):
            raise NotFound()
        self.is_open(now)
        return self if self.starter_jkt else replace(self, starter_jkt=jkt, issuer=issuer)

    def is_open(self, now: datetime) -> None:
        """Raise TaskEnded when it has ended, its deadline has passed, or it has fallen silent."""
        silent = self.silent_at is not None and now >= self.silent_at
        if self.state is not TaskState.OPEN or now >= self.deadline_at or silent:
            raise TaskEnded()

    def declares(self, scope: Scope) -> None:
        """Raise OutsideTask when the task did not say it may need this scope."""
        if not within_any(scope, self.scopes):
            raise OutsideTask()

    def beaten(self, fence: int, now: datetime, missed: int) -> Task:
        """The same task after a beat: silent only once `missed` beats in a row did not come.

        Raises InvalidRequest when it declared no heartbeat, StaleHeartbeat for an old fence.
        """
        if self.heartbeat is None:
            raise InvalidRequest("the task declared no heartbeat")
        if fence != self.beat_fence:
            raise StaleHeartbeat()
        return replace(self, beat_fence=fence + 1, silent_at=now + missed * self.heartbeat)

    def ended(self, reason: str, at: datetime) -> Task:
        """The same task, ended; a second end changes nothing."""
        if self.state is TaskState.ENDED:
            return self
        return replace(self, state=TaskState.ENDED, end_reason=reason, ended_at=at)
