"""The ask: task, scope, TTL and reason; and how the time granted comes to be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.errors import InvalidTtl
from valetkey.core.scope import Scope

LONGEST_TTL = timedelta(hours=12)
SHORTEST_TTL = timedelta(seconds=1)


def canonical_hash(value: Mapping[str, object]) -> str:
    """SHA-256 over sorted, compact JSON: the name of what was asked or shown."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def ttl_of(seconds: object) -> timedelta:
    """Read a TTL in whole seconds; raises InvalidTtl for anything else, zero, below or too long."""
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise InvalidTtl()
    if not SHORTEST_TTL.total_seconds() <= seconds <= LONGEST_TTL.total_seconds():
        raise InvalidTtl()
    return timedelta(seconds=seconds)


@dataclass(frozen=True)
class Ask:
    """What an agent wants. `reason` is an untrusted claim for people; it never decides."""

    task_id: str
    scope: Scope
    ttl: timedelta
    reason: str
    idempotency_key: str

    @property
    def hash(self) -> str:
        """The canonical hash that an idempotency key is held to."""
        return canonical_hash(
            {
                "task": self.task_id,
                "scope": str(self.scope),
                "ttl": int(self.ttl.total_seconds()),
                "reason": self.reason,
            }
        )


@dataclass(frozen=True)
class GrantedTtl:
    """The time that may be had, and which rule cut it ("asked" when none did)."""

    ttl: timedelta
    cut_by: str


def lowest_ttl(asked: timedelta, limits: Iterable[tuple[str, timedelta | None]]) -> GrantedTtl:
    """The lowest of what was asked and every limit; the first of equals names the cut."""
    best = GrantedTtl(asked, "asked")
    for name, limit in limits:
        if limit is not None and limit < best.ttl:
            best = GrantedTtl(limit, name)
    return best
