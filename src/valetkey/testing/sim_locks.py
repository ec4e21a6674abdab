"""Locks as PostgreSQL has them: rows in four strengths, advisory locks in two, no way to deadlock.

Strengths and what refuses what are those of the manual's table "Conflicting Row-Level Locks"
(PostgreSQL 17, 13.3.2); an advisory lock is SHARE or UPDATE. Advisory locks are fair: who comes
later waits behind an earlier waiter. Row locks are not.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from valetkey.core.errors import StoreUnavailable
from valetkey.testing.sim_steps import Steps

KEY_SHARE, SHARE, NO_KEY_UPDATE, UPDATE = 1, 2, 4, 8
_REFUSES = {
    KEY_SHARE: UPDATE,
    SHARE: NO_KEY_UPDATE | UPDATE,
    NO_KEY_UPDATE: SHARE | NO_KEY_UPDATE | UPDATE,
    UPDATE: KEY_SHARE | SHARE | NO_KEY_UPDATE | UPDATE,
}

Key = tuple[str, str]
Holder = Hashable


@dataclass(frozen=True, eq=False)
class _Want:
    """One waiting transaction, and what it waits for."""

    holder: Holder
    key: Key
    refused_by: int
    fair: bool


@dataclass
class Locks:
    """Who holds what; a transaction that would close a circle of waiting gets StoreUnavailable."""

    steps: Steps
    deadlocks: list[str] = field(default_factory=list)
    _held: dict[Key, dict[Holder, int]] = field(default_factory=dict)
    _queue: list[_Want] = field(default_factory=list)

    def take(self, holder: Holder, key: Key, strength: int, *, fair: bool = False) -> bool:
        """Hold it, waiting as long as others refuse; True when it had to wait.

        Raises StoreUnavailable for a deadlock.
        """
        want = None
        if key in self._held or (fair and self._queue):
            want = _Want(holder, key, _REFUSES[strength], fair)
            if not self._blockers(want):
                want = None
        if want is not None:
            self._wait(want)
        self._grant(holder, key, strength)
        return want is not None

    def try_take(self, holder: Holder, key: Key, strength: int) -> bool:
        """Hold it if nobody refuses; False otherwise, at once (SKIP LOCKED, try lock)."""
        if key in self._held and self._blockers(_Want(holder, key, _REFUSES[strength], False)):
            return False
        self._grant(holder, key, strength)
        return True

    def release(self, holder: Holder) -> None:
        """Let go of everything, as the end of a transaction does."""
        for key in [key for key, holders in self._held.items() if holder in holders]:
            holders = self._held[key]
            del holders[holder]
            if not holders:
                del self._held[key]

    def _grant(self, holder: Holder, key: Key, strength: int) -> None:
        holders = self._held.setdefault(key, {})
        holders[holder] = holders.get(holder, 0) | strength

    def _wait(self, want: _Want) -> None:
        self._queue.append(want)
        try:
            if self._circle(want):
                self.deadlocks.append(" ".join(want.key))
                raise StoreUnavailable(f"deadlock at {' '.join(want.key)}")
            self.steps.until(lambda: not self._blockers(want), f"wait for {' '.join(want.key)}")
        finally:
            self._queue.remove(want)

    def _blockers(self, want: _Want) -> list[Holder]:
        """Who stands in the way: holders, and for a fair lock those who came before."""
        holders = self._held.get(want.key, {})
        found = [x for x, held in holders.items() if x != want.holder and held & want.refused_by]
        if want.fair:
            for earlier in self._queue:
                if earlier is want:
                    break
                if earlier.key == want.key and _compete(earlier, want):
                    found.append(earlier.holder)
        return found

    def _circle(self, start: _Want) -> bool:
        """True when somebody that `start` waits for waits, in the end, for `start`."""
        wants = {want.holder: want for want in self._queue}
        open_ends, seen = [start], set()
        while open_ends:
            for blocker in self._blockers(open_ends.pop()):
                if blocker == start.holder:
                    return True
                if blocker in wants and blocker not in seen:
                    seen.add(blocker)
                    open_ends.append(wants[blocker])
        return False


def _compete(one: _Want, other: _Want) -> bool:
    """Two sharers do not stand in each other's way."""
    return bool((one.refused_by | other.refused_by) & SHARE)
