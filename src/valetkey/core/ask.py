"""The ask: task, scope, TTL and reason; and how the time granted comes to be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.errors import InvalidTtl
from valetkey.core.scope import Scope
from valetkey.core.sealing import SealTo

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


def life_of(seconds: object, ttl: timedelta) -> timedelta | None:
    """Read for how long renewals may keep it alive in all; raises InvalidTtl, also below the TTL.

    None, for an ask that is not to be renewed, stays None.
    """
    life = None if seconds is None else ttl_of(seconds)
    if life is not None and life < ttl:
        raise InvalidTtl("renewable_for must not be less than ttl")
    return life


@dataclass(frozen=True)
class Ask:
    """What an agent wants. `reason` is an untrusted claim for people; it never decides.

    `renewable_for` is how long in all, from its activation, renewals may keep it alive; None asks
    for a credential that is not renewed. To `seal_to`, if given, its answer is sealed. With
    `waits_at_most` it was asked in the back channel: nothing is minted before it is collected, and
    people have no longer than that.
    """

    task_id: str
    scope: Scope
    ttl: timedelta
    reason: str
    idempotency_key: str
    renewable_for: timedelta | None = None
    seal_to: SealTo | None = None
    waits_at_most: timedelta | None = None

    @property
    def hash(self) -> str:
        """The canonical hash that an idempotency key is held to."""
        asked: dict[str, object] = {
            "task": self.task_id,
            "scope": str(self.scope),
            "ttl": int(self.ttl.total_seconds()),
            "reason": self.reason,
        }
        if self.renewable_for is not None:
            asked["renewable_for"] = int(self.renewable_for.total_seconds())
        if self.seal_to is not None:
            asked["seal_to"] = self.seal_to.thumbprint
        return canonical_hash(asked)


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
