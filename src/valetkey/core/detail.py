"""What a token was narrowed to when it was given: asks, one to one (RFC 9396)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.scope import Scope


@dataclass(frozen=True)
class Detail:
    """One ask that a token is good for: its task, its scope, and the longest time."""

    task_id: str
    scope: Scope
    ttl: timedelta

    def covers(self, task_id: str, scope: Scope, ttl: timedelta) -> bool:
        """Whether an ask is this one, or narrower."""
        return task_id == self.task_id and scope <= self.scope and ttl <= self.ttl
