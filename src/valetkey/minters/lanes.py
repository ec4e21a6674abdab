"""Lanes: a bounded number of calls for each target under one total, endings never behind mints.

Every call of a target that may last runs here, at most `width` for one target and `total` in all:
mints and endings together, so that a target that hangs holds no more of OpenBao's storage permits
than that. A part of both is kept for endings. What has begun is never cut short.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from valetkey.core.errors import NotAsked
from valetkey.minters.breaker import Breakers, Kind

log = structlog.get_logger()
Result = TypeVar("Result")


@dataclass(frozen=True)
class Width:
    """How many calls run at once, and how many of each kind wait, for one target and in all."""

    target: int = 8
    waiting: int = 56
    total: int = 48

    @property
    def mints(self) -> int:
        """Mints of one target at once; what is left is for endings alone."""
        return max(1, self.target - self.fewest)

    @property
    def mints_in_all(self) -> int:
        """Mints of all targets at once."""
        return max(1, self.total - max(1, self.total // 6))

    @property
    def fewest(self) -> int:
        """Mints that come before endings, so that a flood of endings leaves some through."""
        return max(1, self.target // 4)


@dataclass(frozen=True)
class Traffic:
    """Calls of one target: running now, the most at once so far, and whether it is left alone."""

    running: int
    most: int
    shut: bool


@dataclass
class _Work:
    run: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


@dataclass
class _Lane:
    """What waits, by kind, how many of each run, and the most that ever ran at once."""

    waiting: dict[Kind, deque[_Work]] = field(
        default_factory=lambda: {"mint": deque(), "end": deque()}
    )
    running: dict[Kind, int] = field(default_factory=lambda: {"mint": 0, "end": 0})
    most: int = 0

    @property
    def busy(self) -> int:
        return sum(self.running.values())

    def held(self, kind: Kind) -> int:
        return len(self.waiting[kind]) + self.running[kind]


class ThreadLanes:
    """Threads for all targets, bounded in number and in what waits for them."""

    def __init__(self, width: Width | None = None, breakers: Breakers | None = None) -> None:
        self.breakers = breakers or Breakers()
        self._width = width or Width()
        self._room = self._width.target + self._width.waiting
        self._threads = ThreadPoolExecutor(self._width.total, "lane")
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self._most = 0
        self._closed = False

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Have an ending done soon, whatever waits already.

        Who starts work asked for room before, but others may have asked in the same moment; and
        a claimed lease that nobody works on would wait out its claim. That is what it does when
        its target is left alone by the time its turn comes.
        """
        inherited = contextvars.copy_context()
        self._put(lane, "end", _Work(lambda: inherited.run(work))).add_done_callback(_tell_defects)

    def submit(self, lane: str, work: Callable[[], Result]) -> Future[Result]:
        """Have a mint done soon; raises NotAsked when the lane has no room."""
        with self._lock:
            if self._is_full(lane, "mint"):
                raise NotAsked("the target is busy", retry_after=2)
        return self._put(lane, "mint", _Work(work))

    def full(self) -> Sequence[str]:
        """Lanes in which less room is left for endings than they are wide."""
        with self._lock:
            return [lane for lane in self._lanes if self._is_full(lane, "end")]

    def room(self) -> int:
        """What the fullest lane that is not full still takes."""
        with self._lock:
            open_ones = [x for name, x in self._lanes.items() if not self._is_full(name, "end")]
            return self._room - max((lane.held("end") for lane in open_ones), default=0)

    def shut(self) -> Sequence[str]:
        """Targets that are left alone."""
        return self.breakers.shut()

    def trials(self) -> Sequence[str]:
        """Of those, the ones in which one ending may be tried now; asking takes the trial."""
        return [target for target in self.shut() if self.breakers.wait(target, "end") is None]

    def refusal(self, lane: str) -> float | None:
        """Seconds until a mint makes sense; None when it may be asked for now."""
        with self._lock:
            if self._is_full(lane, "mint"):
                return 2.0
        return self.breakers.wait(lane, "mint")

    def leave_alone(self, lane: str) -> None:
        """Begin nothing there for a while."""
        self.breakers.open(lane)

    def traffic(self) -> Mapping[str, Traffic]:
        """By target, what runs and what ran at most."""
        shut = set(self.shut())
        with self._lock:
            names = self._lanes.keys() | shut
            lanes = {name: self._lanes.get(name, _Lane()) for name in names}
            return {name: Traffic(x.busy, x.most, name in shut) for name, x in lanes.items()}

    def most(self) -> int:
        """The most calls that ever ran at once, of all targets together."""
        return self._most

    def busy(self) -> int:
        """How many pieces of work are held, for the shutdown to wait for."""
        with self._lock:
            return sum(lane.held("mint") + lane.held("end") for lane in self._lanes.values())

    def close(self) -> None:
        """Take no more work, and leave undone what has not begun; what runs, runs to its end."""
        with self._lock:
            self._closed = True
            lanes = list(self._lanes.values())
            left = [
                (kind, x) for lane in lanes for kind in lane.waiting for x in lane.waiting[kind]
            ]
        for kind, work in left:
            _leave_undone(kind, work)
        self._threads.shutdown(wait=False)

    def _put(self, name: str, kind: Kind, work: _Work) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise NotAsked("this replica is stopping", retry_after=2)
            self._lanes.setdefault(name, _Lane()).waiting[kind].append(work)
        self._begin_what_may()
        return work.future

    def _is_full(self, name: str, kind: Kind) -> bool:
        lane = self._lanes.get(name)
        if lane is None:
            return False
        least = self._width.target if kind == "end" else 1
        return self._room - lane.held(kind) < least

    def _begin_what_may(self) -> None:
        """Begin what finds a place, one of each lane in turn, so that none takes all of them."""
        left_out: list[tuple[Kind, _Work]] = []
        with self._lock:
            names = list(self._lanes) if not self._closed else []
            while names:
                names = [name for name in names if self._begin_one(name, left_out)]
        for kind, work in left_out:
            _leave_undone(kind, work)

    def _begin_one(self, name: str, left_out: list[tuple[Kind, _Work]]) -> bool:
        """Begin one piece of a lane's work, if any may; those of a target left alone are put out.

        The place is taken here; a thread is free for it, because there are as many as places.
        """
        lane = self._lanes[name]
        while (kind := self._next(lane)) is not None:
            work = lane.waiting[kind].popleft()
            if work.future.cancelled():
                continue
            if not self.breakers.passes(name, kind):
                left_out.append((kind, work))
                continue
            lane.running[kind] += 1
            lane.most = max(lane.most, lane.busy)
            self._most = max(self._most, self._running())
            self._threads.submit(self._run, name, kind, work)
            return True
        return False

    def _next(self, lane: _Lane) -> Kind | None:
        """What may begin now: an ending, unless too few mints run."""
        width = self._width
        if lane.busy >= width.target or self._running() >= width.total:
            return None
        minting = lane.running["mint"]
        may_mint = (
            bool(lane.waiting["mint"])
            and minting < width.mints
            and sum(x.running["mint"] for x in self._lanes.values()) < width.mints_in_all
        )
        if lane.waiting["end"] and not (may_mint and minting < width.fewest):
            return "end"
        return "mint" if may_mint else None

    def _running(self) -> int:
        return sum(lane.busy for lane in self._lanes.values())

    def _run(self, name: str, kind: Kind, work: _Work) -> None:
        future = work.future
        try:
            if future.set_running_or_notify_cancel():
                try:
                    result = work.run()
                except BaseException as problem:  # noqa: BLE001 - whoever waits for it gets it
                    future.set_exception(problem)
                else:
                    future.set_result(result)
        finally:
            with self._lock:
                self._lanes[name].running[kind] -= 1
            self._begin_what_may()


def _leave_undone(kind: Kind, work: _Work) -> None:
    """An ending comes due again by itself; who waits for a mint is told that it never began."""
    if kind == "end":
        work.future.cancel()
    elif work.future.set_running_or_notify_cancel():
        work.future.set_exception(NotAsked("the target is left alone", retry_after=5))


def _tell_defects(future: Future[None]) -> None:
    """What a lane's work raises is a defect or an outage: said, never lost, never a secret."""
    if future.cancelled():
        return  # left undone: the lease comes due again
    problem = future.exception()
    if problem is not None:
        log.error("lane.failed", problem=type(problem).__name__)
