"""Breakers: a target that does not answer is left alone for a while, then tried with one call.

Without them a target that hangs would fill its lane with calls that each last as long as the back
end lets them, and OpenBao holds a storage permit for every one of them. The state is each
replica's own and in memory: losing it costs one round of failures.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from valetkey.core.errors import MinterUnavailable, NotAsked, OutcomeUnknown

Kind = Literal["mint", "end"]


@dataclass(frozen=True)
class Temper:
    """When a target is left alone, and for how long.

    outages: so many calls in a row that had no answer. hung_after: a call that lasts longer counts
    as one of them while it lasts. pause: between two trials of each kind; after one that hung
    twice as long each time, up to `longest_pause`.
    """

    outages: int = 5
    hung_after: timedelta = timedelta(seconds=20)
    pause: timedelta = timedelta(seconds=10)
    longest_pause: timedelta = timedelta(minutes=5)


@dataclass(eq=False)
class _Call:
    """A call in flight: when it began, and whether it is a trial of a target left alone."""

    began: float
    is_trial: bool


@dataclass
class _Breaker:
    """One target's: `begun` has the calls in flight, `passes` the trials allowed."""

    outages: int = 0
    is_open: bool = False
    begun: list[_Call] = field(default_factory=list)
    next_trial: dict[Kind, float] = field(default_factory=dict)
    passes: set[Kind] = field(default_factory=set)
    hung_trials: int = 0


class Breakers:
    """One breaker for each target: closed, or open with one trial of each kind in a while.

    `told` hears of each that opens (True) or closes (False).
    """

    def __init__(
        self,
        temper: Temper | None = None,
        told: Callable[[str, bool], None] = lambda target, is_open: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._temper, self._told, self._now = temper or Temper(), told, now
        self._breakers: dict[str, _Breaker] = defaultdict(_Breaker)
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, target: str) -> Iterator[None]:
        """One call of a target: its answer closes the breaker, an outage brings it nearer to open.

        A refusal is neither: the back end answered it, and says nothing of the target. Nor is
        what was not asked.
        """
        with self._judged(target) as breaker:
            call = _Call(self._now(), breaker.is_open)
            breaker.begun.append(call)
        try:
            yield
        except (MinterUnavailable, OutcomeUnknown) as away:
            self._end(target, call, outage=not isinstance(away, NotAsked))
            raise
        except BaseException:
            self._end(target, call)
            raise
        self._end(target, call, answered=True)

    def wait(self, target: str, kind: Kind) -> float | None:
        """Seconds until a call of this kind may be tried; None when it may now.

        Of an open target that takes the trial, which is then nobody else's until the pause is over.
        """
        with self._judged(target) as breaker:
            if not breaker.is_open:
                return None
            left = breaker.next_trial.get(kind, 0.0) - self._now()
            if left > 0:
                return left
            if len(breaker.begun) >= self._temper.outages:
                return self._temper.pause.total_seconds()
            breaker.next_trial[kind] = self._now() + self._temper.pause.total_seconds()
            breaker.passes.add(kind)
            return None

    def passes(self, target: str, kind: Kind) -> bool:
        """May this call begin? Of an open target only one that was allowed as a trial."""
        with self._judged(target) as breaker:
            if breaker.is_open and kind not in breaker.passes:
                return False
            breaker.passes.discard(kind)
            return True

    def is_open(self, target: str) -> bool:
        """Is this target left alone?"""
        with self._judged(target) as breaker:
            return breaker.is_open

    def open(self, target: str) -> None:
        """Leave a target alone from now on: somebody saw that it cannot work."""
        with self._judged(target) as breaker:
            breaker.outages = max(breaker.outages, self._temper.outages)

    def shut(self) -> Sequence[str]:
        """The targets that are left alone."""
        with self._lock:
            known = list(self._breakers)
        return [target for target in known if self.is_open(target)]

    def _end(
        self, target: str, call: _Call, *, outage: bool = False, answered: bool = False
    ) -> None:
        with self._judged(target) as breaker:
            breaker.begun.remove(call)
            if outage:
                breaker.outages += 1
                self._wait_longer(breaker, call)
            if answered:
                breaker.outages = 0

    @contextmanager
    def _judged(self, target: str) -> Iterator[_Breaker]:
        """The breaker, judged before it is looked at and after it was changed."""
        with self._lock:
            breaker = self._breakers[target]
            before = breaker.is_open
            self._judge(breaker)
            try:
                yield breaker
            finally:
                self._judge(breaker)
                after = breaker.is_open
        if before != after:
            self._told(target, after)

    def _wait_longer(self, breaker: _Breaker, call: _Call) -> None:
        """After a trial that hung: what hangs inside the back end may do so after we hung up."""
        temper = self._temper
        hung = self._now() - call.began >= temper.hung_after.total_seconds()
        if call.is_trial and hung:
            breaker.hung_trials = min(breaker.hung_trials + 1, 16)
            pause = min(temper.pause * 2**breaker.hung_trials, temper.longest_pause)
            later = self._now() + pause.total_seconds()
            breaker.next_trial = {"mint": later, "end": later}

    def _judge(self, breaker: _Breaker) -> None:
        long_ago = self._now() - self._temper.hung_after.total_seconds()
        hung = sum(call.began <= long_ago for call in breaker.begun)
        if not breaker.is_open and breaker.outages + hung >= self._temper.outages:
            breaker.is_open = True
            pause = self._temper.pause.total_seconds()
            breaker.next_trial = {"mint": self._now() + pause, "end": self._now() + pause}
            breaker.passes.clear()
            breaker.hung_trials = 0
        elif breaker.is_open and breaker.outages == 0 and hung == 0:
            breaker.is_open = False
