"""The metronome: in every replica, APScheduler in memory calls the flows. It holds no truth.

Nothing is lost when a tick is: due times stand in Postgres, and any replica's next tick finds them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from valetkey.core.errors import BrokerError
from valetkey.flows.probe import last_probes, probe, probed_targets
from valetkey.flows.reassert import reassert
from valetkey.flows.reconcile import leads, reconcile
from valetkey.flows.sweep import sweep
from valetkey.flows.tick import BEFORE_SWEEP, duties_due
from valetkey.ports import Broker, Duty

log = structlog.get_logger()
BATCH = 64
MOST_PROBES = 16


@dataclass(frozen=True)
class Beats:
    """How often each duty is done; zero is never."""

    tick: timedelta = timedelta(seconds=1)
    reconcile: timedelta = timedelta(minutes=1)
    upkeep: timedelta = timedelta(seconds=30)
    probe: timedelta = timedelta(0)


@dataclass
class Clockwork:
    """The duties of one replica, and when each was last done without trouble (monotonic).

    outcomes: what the last probe of each target came to, whoever made it. took: seconds of the
    last one that was made here.
    """

    broker: Broker
    beats: Beats
    upkeep: Callable[[], None] = lambda: None
    last_done: dict[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        usual = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = BackgroundScheduler(timezone=UTC, job_defaults=usual)
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_the_wall, name="wall", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        duties: Mapping[str, tuple[Callable[[], None], timedelta]] = {
            "sweep": (self.tick, self.beats.tick),
            "reassert": (self.look_again, self.beats.tick),
            "reconcile": (self.compare, self.beats.reconcile),
            "upkeep": (self.upkeep, self.beats.upkeep),
            "probe": (self.try_targets, self.beats.probe),
        }
        for name, (duty, every) in duties.items():
            if not (seconds := every.total_seconds()):
                continue
            self.last_done[name] = time.monotonic()
            run = self._done(name, duty)
            # what runs once is removed, which ends the thread of a scheduler stopped meanwhile
            first = {"next_run_time": datetime.now(UTC)} if name == "upkeep" else {}
            jitter = seconds / 4
            self._scheduler.add_job(run, "interval", seconds=seconds, jitter=jitter, **first)
        self._scheduler.start()
        self._watch.start()

    def stop(self) -> None:
        """Stop ticking; what is being done is finished."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def read_again(self) -> None:
        """Do the upkeep soon, out of turn: somebody changed the rules."""
        self._scheduler.add_job(self._done("upkeep", self.upkeep))

    def tick(self) -> None:
        """End what is due: grants, tasks, what lives under kills, leases, until no more is due.

        One look says what there is; without anything, that is all. What goes wrong with one of
        them keeps none of the others, least of all the sweep; nor does how much there is of it.
        """
        due, until = self._due(), self._most_of_a_tick()
        for duty, flow in BEFORE_SWEEP.items():
            if duty in due:
                self._done(duty.value, partial(self._worked_off, flow, until))()
        if Duty.LEASES in due:
            self._sweep()

    def _worked_off(self, flow: Callable[[Broker], int], until: float) -> None:
        """Batch by batch until nothing is left of it, once at least."""
        while flow(self.broker) and time.monotonic() < until and not self._stopping.is_set():
            pass

    def _most_of_a_tick(self) -> float:
        """Until when the work of a tick that begins now may last (monotonic)."""
        return time.monotonic() + 0.75 * self.beats.tick.total_seconds()

    def _due(self) -> frozenset[Duty]:
        """What there is to do: all of it, where a defect keeps us from looking.

        Raises StoreUnavailable.
        """
        try:
            return duties_due(self.broker)
        except BrokerError:
            raise
        except Exception as defect:  # noqa: BLE001 - a defect of the look must end nothing
            log.error("clockwork.defect", duty="look", problem=type(defect).__name__)
            return frozenset(Duty)

    def _sweep(self) -> None:
        """Sweep for most of the tick: where leases come due, more do, and none need wait for it.

        Between two sweeps that find nothing passes a tenth of a tick, or less while what is due
        waits for room in its lane.
        """
        tick, until = self.beats.tick.total_seconds(), self._most_of_a_tick()
        while time.monotonic() < until and not self._stopping.is_set():
            if not sweep(self.broker, BATCH):
                self._stopping.wait(0.02 if self.broker.lanes.full() else tick / 10)

    def compare(self) -> None:
        """Reconcile every minter that no other replica leads the comparing of in this turn."""
        for name in self.broker.minters:
            if leads(self.broker, f"reconcile {name}", self.beats.reconcile):
                reconcile(self.broker, name)

    def look_again(self) -> None:
        """See that what was refused still is."""
        reassert(self.broker)

    def try_targets(self) -> None:
        """Probe, side by side, every target that no other replica leads in this turn.

        One that hangs keeps no other waiting. They have no connections kept for them.
        """
        led = [x for x in probed_targets(self.broker) if self._leads_probe(x)]
        if led:
            with ThreadPoolExecutor(min(len(led), MOST_PROBES), "probe") as threads:
                for target in led:
                    threads.submit(self._guarded, "probe", partial(self._probe, target))
        self.outcomes = {x: told.fact.outcome for x, told in last_probes(self.broker).items()}

    def _leads_probe(self, target: str) -> bool:
        return leads(self.broker, f"probe {target}", self.beats.probe)

    def _probe(self, target: str) -> None:
        if not self._stopping.is_set() and (seen := probe(self.broker, target)) is not None:
            self.took[target] = seen.seconds

    def late(self) -> str | None:
        """Why this replica is not to be trusted with time: its sweep has not run for long."""
        since = time.monotonic() - self.last_done.get("sweep", time.monotonic())
        allowed = max(5.0, 3 * self.beats.tick.total_seconds())
        return f"the sweep has not run for {since:.0f} s" if since > allowed else None

    def _watch_the_wall(self) -> None:
        """When the machine's clock was set, do everything at once.

        APScheduler plans by that clock: set back an hour, it would do nothing for an hour.
        """
        apart = time.time() - time.monotonic()
        while not self._stopping.wait(1.0):
            now = time.time() - time.monotonic()
            if abs(now - apart) > 1.0:
                apart = now
                log.warning("clockwork.clock_was_set")
                for job in self._scheduler.get_jobs():
                    with suppress(JobLookupError):  # done and gone meanwhile
                        job.modify(next_run_time=datetime.now(UTC))

    def _done(self, name: str, duty: Callable[[], object]) -> Callable[[], None]:
        """The duty, which never ends the metronome, and notes when it was done."""

        def run() -> None:
            with self.broker.store.urgent():
                self._guarded(name, duty)

        return run

    def _guarded(self, name: str, duty: Callable[[], object]) -> None:
        """Do it, whatever goes wrong with it, and note when it was done."""
        try:
            duty()
        except BrokerError as trouble:
            log.warning("clockwork.trouble", duty=name, code=trouble.code)
        except Exception as defect:  # noqa: BLE001 - a defect must not stop the clock
            log.error("clockwork.defect", duty=name, problem=type(defect).__name__)
        else:
            self.last_done[name] = time.monotonic()
