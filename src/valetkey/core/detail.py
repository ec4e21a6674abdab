"""What a token was narrowed to when it was given: asks, one to one (RFC 9396)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.scope import Scope


@dataclass(frozen=True)
class Detail:
    """One ask that a token is good for: its task, its scope, and the longest time.

    With a `grant_id` only for what was granted there, and for no new ask.
    """

    task_id: str
    scope: Scope
    ttl: timedelta
    grant_id: str | None = None

    def covers(
        self, task_id: str, scope: Scope, ttl: timedelta, grant_id: str | None = None
    ) -> bool:
        """Whether an ask, of this grant if it has one, is this one or narrower."""
        if self.grant_id not in (None, grant_id):
            return False
        return task_id == self.task_id and scope <= self.scope and ttl <= self.ttl
