"""Running many seeds: in two processes, for a time or a number; and telling one seed's story."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from tests.simulation.casting import cast
from tests.simulation.scheduler import Broken
from tests.simulation.world import Parts, World

CHUNK = 250
PROCESSES = 2


@dataclass(frozen=True)
class Failure:
    """A seed whose schedule broke something, and what it broke."""

    seed: int
    what: str


@dataclass(frozen=True)
class Tally:
    """What many schedules came to."""

    schedules: int = 0
    steps: int = 0
    handed_out: int = 0
    failure: Failure | None = None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.schedules + other.schedules,
            self.steps + other.steps,
            self.handed_out + other.handed_out,
            self.failure or other.failure,
        )


def play(seed: int, parts: Parts | None = None) -> Tally:
    """One schedule."""
    world = cast(World(seed, parts))
    failure = None
    try:
        world.run()
        if world.store.locks.deadlocks:
            failure = Failure(seed, f"deadlock at {world.store.locks.deadlocks}")
    except (Exception, Broken) as broken:  # noqa: BLE001 - whatever breaks is what is looked for
        failure = Failure(seed, f"{type(broken).__name__}: {broken}")
    handed_out = sum(len(x) for x in world.watch.delivered.values())
    return Tally(1, world.scheduler.steps, handed_out, failure)


def play_all(seeds: range, parts: Parts | None = None) -> Tally:
    """These schedules, up to the first that breaks something."""
    tally = Tally()
    for seed in seeds:
        tally += play(seed, parts)
        if tally.failure is not None:
            break
    return tally


def play_many(first: int, most: int, seconds: float) -> Tally:
    """Up to `most` schedules, for about `seconds`, stopping when one breaks something."""
    until, chunks, tally = time.monotonic() + seconds, _chunks(first, most), Tally()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        running: set[Future[Tally]] = set()
        for chunk in chunks:
            running.add(pool.submit(play_all, chunk))
            if len(running) > PROCESSES:
                done = next(as_completed(running))
                running.remove(done)
                tally += done.result()
            if tally.failure is not None or time.monotonic() > until:
                break
        return sum((x.result() for x in running), tally)


def story_of(seed: int, parts: Parts | None = None) -> str:
    """Who did what in order, and how it ended."""
    world = cast(World(seed, parts, told=True))
    lines = world.scheduler.story
    assert lines is not None
    try:
        world.run()
    except (Exception, Broken):  # noqa: BLE001 - it is told, not handled
        lines.extend(traceback.format_exc(limit=-2).splitlines())
    lines.append(f"mood {world.scheduler.mood}")
    lines.append(f"again with VALETKEY_SIM_SEED={seed}")
    return "\n".join(lines)


def _chunks(first: int, most: int) -> Iterator[range]:
    for start in range(first, first + most, CHUNK):
        yield range(start, min(start + CHUNK, first + most))
