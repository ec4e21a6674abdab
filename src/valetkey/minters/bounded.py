"""Bounds on outside calls: a lane for each target under one total, and calls never cancelled.

Who waits may give up; the call itself runs to its end in its own thread, and what it made is
found and ended by the sweep.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as GaveUp
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import MinterUnavailable, OutcomeUnknown
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Proof
from valetkey.ports import Deadline, Ending, Found, Lapse, Minted, Minter, Presence, Renewed

log = structlog.get_logger()
Result = TypeVar("Result")


class ThreadLanes:
    """Threads for each target, bounded in number and in what waits for them."""

    def __init__(self, *, width: int = 8, waiting: int = 56, total: int = 48) -> None:
        self._width, self._room = width, width + waiting
        self._total = threading.BoundedSemaphore(total)
        self._held: dict[str, int] = defaultdict(int)
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Have it done soon, whatever waits already.

        Who starts work asked for room before, but others may have asked in the same moment; and
        a claimed lease that nobody works on would wait out its claim.
        """
        with self._lock:
            future = self._put(lane, work)
        future.add_done_callback(_tell_defects)

    def submit(self, lane: str, work: Callable[[], Result]) -> Future[Result] | None:
        """Have it done soon; None when the lane has no room."""
        with self._lock:
            return None if self._held[lane] >= self._room else self._put(lane, work)

    def _put(self, lane: str, work: Callable[[], Result]) -> Future[Result]:
        self._held[lane] += 1
        if lane not in self._pools:
            self._pools[lane] = ThreadPoolExecutor(self._width, f"lane-{lane}")
        return self._pools[lane].submit(self._run, lane, work)

    def full(self) -> Sequence[str]:
        """Lanes in which less room is left than they are wide."""
        with self._lock:
            return [lane for lane, held in self._held.items() if self._is_full(held)]

    def room(self) -> int:
        """What the fullest lane that is not full still takes."""
        with self._lock:
            held = (held for held in self._held.values() if not self._is_full(held))
            return self._room - max(held, default=0)

    def busy(self) -> int:
        """How many pieces of work are held, for the shutdown to wait for."""
        with self._lock:
            return sum(self._held.values())

    def close(self) -> None:
        """Take no more work, and leave undone what has not begun; what runs, runs to its end."""
        with self._lock:
            for pool in self._pools.values():
                pool.shutdown(wait=False, cancel_futures=True)

    def _is_full(self, held: int) -> bool:
        return self._room - held < self._width

    def _run(self, lane: str, work: Callable[[], Result]) -> Result:
        try:
            with self._total:
                return work()
        finally:
            with self._lock:
                self._held[lane] -= 1


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
        """Mint in the lane; raises OutcomeUnknown when it takes longer than one waits for it."""
        return self._awaited(
            handle.target, lambda: self._minter.mint(handle, wanted, ttl, deadline)
        )

    def renews(self, wanted: CataloguedScope) -> bool:
        """As the minter says."""
        return self._minter.renews(wanted)

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Renew in the lane of its target's mints; raises as `mint` does."""
        return self._awaited(
            handle.target, lambda: self._minter.renew(handle, back_ref, ttl, deadline)
        )

    def _awaited(self, target: str, work: Callable[[], Result]) -> Result:
        future = self._lanes.submit(f"mint {target}", work)
        if future is None:
            raise MinterUnavailable("the target is busy", retry_after=2)
        try:
            return future.result(timeout=self._answer_within)
        except GaveUp:
            raise OutcomeUnknown(retry_after=5) from None

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """As the minter does; the sweep already runs in a lane."""
        return self._minter.end(handle, backend_expires_at)

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


def _tell_defects(future: Future[None]) -> None:
    """What a lane's work raises is a defect or an outage: said, never lost, never a secret."""
    problem = future.exception()
    if problem is not None:
        log.error("lane.failed", problem=type(problem).__name__)
