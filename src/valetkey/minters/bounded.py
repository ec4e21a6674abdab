"""Bounds on a minter: its calls run in their target's lane, under the eye of its breaker.

Who waits may give up; the call itself runs to its end in its own thread, and what it made is
found and ended by the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as GaveUp
from datetime import datetime, timedelta
from typing import TypeVar

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import MinterUnavailable, NotAsked, OutcomeUnknown
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Proof
from valetkey.minters.lanes import ThreadLanes
from valetkey.ports import Deadline, Ending, Found, Lapse, Minted, Minter, Presence, Renewed

Result = TypeVar("Result")


class BoundedMinter:
    """A minter whose mints run in their target's lane; the asker waits only so long."""

    def __init__(self, minter: Minter, lanes: ThreadLanes, answer_within: timedelta) -> None:
        self._minter, self._lanes = minter, lanes
        self._answer_within = answer_within.total_seconds()

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """As the minter says."""
        return self._minter.handle_for(lease_id, wanted)

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """As the minter says."""
        return self._minter.end_class(wanted)

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Mint in the lane; raises OutcomeUnknown when it takes longer than one waits for it.

        What had not begun by then never will: that is NotAsked, as where there is no room.
        """
        return self._awaited(handle, lambda: self._minter.mint(handle, wanted, ttl, deadline))

    def renews(self, wanted: CataloguedScope) -> bool:
        """As the minter says."""
        return self._minter.renews(wanted)

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Renew in the lane, as one of its mints; raises as `mint` does."""
        return self._awaited(handle, lambda: self._minter.renew(handle, back_ref, ttl, deadline))

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """As the minter does; the sweep already runs in a lane."""
        return self._watched(handle, lambda: self._minter.end(handle, backend_expires_at))

    def probe(self, handle: Handle) -> Presence:
        """As the minter does."""
        return self._minter.probe(handle)

    def targets(self) -> Sequence[str]:
        """As the minter says."""
        return self._minter.targets()

    def found(self, target: str) -> Iterator[Found]:
        """As the minter does."""
        return self._minter.found(target)

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """As the minter says."""
        return self._minter.lives_until(handle, back_ref)

    def skew(self, target: str) -> timedelta:
        """As the minter says."""
        return self._minter.skew(target)

    def claim(self) -> Sequence[str]:
        """As the minter does."""
        return self._minter.claim()

    def problem(self) -> str | None:
        """As the minter says."""
        return self._minter.problem()

    def longest_life(self, ttl: timedelta) -> timedelta:
        """As the minter says."""
        return self._minter.longest_life(ttl)

    def reassert(self, *, renew: bool = True) -> Sequence[Lapse]:
        """As the minter does."""
        return self._minter.reassert(renew=renew)

    def _awaited(self, handle: Handle, work: Callable[[], Result]) -> Result:
        future = self._lanes.submit(handle.target, lambda: self._watched(handle, work))
        try:
            return future.result(timeout=self._answer_within)
        except GaveUp:
            if future.cancel():
                raise NotAsked("the target is busy", retry_after=5) from None
            raise OutcomeUnknown(retry_after=5) from None

    def _watched(self, handle: Handle, work: Callable[[], Result]) -> Result:
        """Look ourselves before a target that was left alone is tried through the back end.

        OpenBao holds a storage permit for as long as a revocation hangs, even when we hang up: of
        a target that we cannot look at either, it must not be asked. Raises what `probe` does,
        NotAsked where that is not able to look.
        """
        if self._lanes.breakers.is_open(handle.target):
            try:
                self._minter.probe(handle)
            except MinterUnavailable as blind:
                raise NotAsked(blind.detail, retry_after=blind.retry_after) from blind
        with self._lanes.breakers.watching(handle.target):
            return work()
