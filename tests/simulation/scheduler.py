"""The scheduler: actors in greenlets, one seed that decides everything, and the story of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from greenlet import GreenletExit, getcurrent, greenlet

from valetkey.core.errors import BrokerError

MOST_STEPS = 20_000
TICK = timedelta(milliseconds=1)


class Broken(BaseException):
    """What is looked for: no flow may catch it, as flows catch what a minter raises."""


class Endless(Broken):
    """A schedule that does not come to its end."""


class Violation(Broken):
    """An invariant is broken; the text says which and by what."""


@dataclass(frozen=True)
class Mood:
    """How a schedule is tempered; all but `omens` are chances at each switch.

    `stay`: the same actor goes on. `omens`: for each kind of call, a chance and what then happens.
    `naps`: for how many seconds somebody may freeze.
    """

    stay: float
    freeze: float
    crash: float
    jump: float
    omens: Mapping[str, tuple[float, Sequence[str]]]
    naps: Sequence[float] = (1, 25, 40, 100, 140, 400)


@dataclass(eq=False)
class Actor:
    """One thread of control. It may go on once `wakes` has come and `ready` is true."""

    name: str
    run: greenlet
    wakes: float = 0.0
    ready: Callable[[], bool] | None = None


@dataclass
class Scheduler:
    """Implements Steps: every step of every actor comes by here. Seconds count from zero.

    `moved` is told by how much time moved. Without `actors` running, all is calm and nothing fails.
    """

    random: Random
    mood: Mood
    moved: Callable[[timedelta], None]
    story: list[str] | None = None
    seconds: float = 0.0
    steps: int = 0
    actors: list[Actor] = field(default_factory=list)
    acting: Actor | None = None
    defect: BaseException | None = None

    def __post_init__(self) -> None:
        self._hub = getcurrent()

    # --- what actors call ------------------------------------------------------------------

    def step(self, what: str, about: str = "") -> None:
        """Perhaps let others act first."""
        if self.story is not None:
            self.tell(what, about)
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Endless(f"{MOST_STEPS} steps")
        if self.acting is not None and self.random.random() >= self.mood.stay:
            self._hub.switch()

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Let others act until it is true."""
        actor = self.acting
        if actor is None:
            raise Endless(f"nobody is left to end the {what}")
        if self.story is not None:
            self.tell(what)
        actor.ready = ready
        self._hub.switch()
        actor.ready = None

    def omen(self, of: str) -> str:
        """How a call goes."""
        if self.acting is None:
            return "ok"
        chance, words = self.mood.omens.get(of, (0.0, ()))
        if not chance or self.random.random() >= chance:
            return "ok"
        word = words[int(self.random.random() * len(words))]
        if self.story is not None:
            self.tell(f"omen: {of} goes {word}")
        return word

    def nap(self, seconds: float) -> None:
        """Let so much time pass for the acting actor; for everybody when nobody acts."""
        if self.acting is None:
            self.advance(seconds)
            return
        self.acting.wakes = self.seconds + seconds
        self._hub.switch()

    def tell(self, what: str, about: str = "") -> None:
        """Add a line to the story, if one is told."""
        if self.story is not None:
            name = self.acting.name if self.acting else "epilogue"
            self.story.append(f"{self.seconds:9.3f}  {name:<14} {what} {about}".rstrip())

    # --- who acts when ---------------------------------------------------------------------

    def cast(self, name: str, play: Callable[[], object]) -> None:
        """Add an actor; it begins when it is chosen."""
        self.actors.append(Actor(name, greenlet(lambda: self._play(play), self._hub)))

    def run(self) -> None:
        """Until every actor is done, or has vanished. Raises Violation, Endless, or a defect."""
        try:
            while self.actors:
                self._turn(self._choose())
                if self.defect is not None:
                    raise self.defect
        finally:
            self.acting = None
            for actor in self.actors:
                if actor.run:
                    actor.run.throw(GreenletExit)

    def advance(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.seconds += seconds
        self.moved(timedelta(seconds=seconds))

    def _play(self, play: Callable[[], object]) -> None:
        try:
            play()
        except BrokerError as refusal:
            self.tell(f"is refused: {refusal}")
        except GreenletExit:
            raise
        except (Exception, Broken) as defect:  # noqa: BLE001 - raised again in `run`
            if self.defect is None:
                self.defect = defect
                if self.story is not None:
                    self.story.extend(traceback.format_exc(limit=-8).splitlines())

    def _turn(self, actor: Actor) -> None:
        mood, luck = self.mood, self.random.random()
        if luck < mood.freeze:
            actor.wakes = self.seconds + self.random.choice(self.mood.naps)
            self.acting = actor
            self.tell(f"freezes until {actor.wakes:.3f}")
        elif luck < mood.freeze + mood.crash:
            self.acting = actor
            self.tell("vanishes")
            actor.run.throw(GreenletExit)
        else:
            self.acting = actor
            actor.run.switch()
        self.acting = None
        if actor.run.dead:
            self.actors.remove(actor)

    def _choose(self) -> Actor:
        """Somebody who can go on; time passes until there is one, and now and then anyway."""
        if self.mood.jump and self.random.random() < self.mood.jump:
            self.advance(self.random.choice((0.5, 5.0, 21.0, 31.0, 96.0)))
        else:
            self.advance(0.001)
        while True:
            able = [x for x in self.actors if x.ready is None or x.ready()]
            if not able:
                raise Endless("everybody waits for somebody")
            awake = [x for x in able if x.wakes <= self.seconds]
            if awake:
                return awake[int(self.random.random() * len(awake))]
            self.advance(min(x.wakes for x in able) - self.seconds)


@dataclass
class SimDeadline:
    """A deadline in the scheduler's seconds."""

    scheduler: Scheduler
    at: float

    def left(self) -> float:
        """Seconds left."""
        return self.at - self.scheduler.seconds


@dataclass
class SimClock:
    """Waiting is a switch to others."""

    scheduler: Scheduler

    def deadline(self, after: timedelta) -> SimDeadline:
        """A deadline that much later."""
        return SimDeadline(self.scheduler, self.scheduler.seconds + after.total_seconds())

    def wait(self, seconds: float) -> None:
        """Let others act for so long."""
        self.scheduler.nap(seconds)


@dataclass
class SimLanes:
    """Work is done at once, by an actor of its own, or (omen `lane`) is left undone."""

    scheduler: Scheduler

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Have it done, or not."""
        scheduler = self.scheduler
        how = scheduler.omen("lane")
        if how == "undone":
            return
        if how == "apart" and scheduler.acting is not None:
            scheduler.cast(f"{scheduler.acting.name} lane", work)
            return
        try:
            work()
        except BrokerError as trouble:
            scheduler.tell(f"lane: {trouble}")

    def full(self) -> Sequence[str]:
        """There is always room."""
        return ()

    def room(self) -> int:
        """More than anybody needs."""
        return 1000

    def shut(self) -> Sequence[str]:
        """Every target is called, but (omen `shut`) for this moment."""
        return ("orders-db",) if self.scheduler.omen("shut") != "ok" else ()

    def trials(self) -> Sequence[str]:
        """One ending may be tried, or not."""
        return ("orders-db",) if self.scheduler.omen("trial") != "ok" else ()

    def refusal(self, lane: str) -> float | None:
        """None, but (omen `shut`) for this moment."""
        return 5.0 if self.scheduler.omen("shut") != "ok" else None

    def leave_alone(self, lane: str) -> None:
        """What is left alone, chance decides."""
