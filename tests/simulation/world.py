"""One small world per seed: a task or two, some actors, a mood; run, then brought to rest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from tests.simulation.moods import mood_of
from tests.simulation.scheduler import Scheduler, SimClock, SimLanes, Violation
from tests.simulation.watch import Watch
from valetkey.core.ask import Ask
from valetkey.core.ids import encode_id
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.sealing import SealTo
from valetkey.core.task import Task
from valetkey.flows.fetch_sealed import fetch_sealed
from valetkey.flows.issue import issue
from valetkey.flows.reconcile import reconcile
from valetkey.flows.renew import renew
from valetkey.flows.sweep import sweep
from valetkey.flows.tick import BEFORE_SWEEP, duties_due
from valetkey.flows.verdicts import Answer, Sealed, Verdict
from valetkey.ports import Broker, Limits, Transaction
from valetkey.testing.brokers import FakeRules, Stage, TablePolicy, small_catalogue
from valetkey.testing.fake_clock import KeptAlarms
from valetkey.testing.sim_minter import SimBackEnd
from valetkey.testing.sim_store import SimStore

READ = Scope.parse("orders-db:read{region=eu}")
WRITE = Scope.parse("orders-db:write{region=eu}")
_RULES = FakeRules(small_catalogue(), TablePolicy())
_KEY = SealTo("OKP", "X25519", "x" * 43)
_LIMITS = Limits(settle=timedelta(seconds=0.05))


@dataclass(frozen=True)
class Parts:
    """What a planted bug may put in the place of the real thing."""

    store: type[SimStore] = SimStore
    sweep: Callable[..., int] = sweep
    issue: Callable[[Broker, Callable[[Transaction], Verdict]], Answer] = issue
    renew: Callable[[Broker, Caller, str], Lease] = renew
    fetch: Callable[[Broker, Caller, str], Sealed] = fetch_sealed


@dataclass(frozen=True)
class People:
    """The stage's people and its agent, made once."""

    bot: Caller
    owner: Caller
    approver: Caller
    operator: Caller
    other_operator: Caller


def _people() -> tuple[Stage, People]:
    stage = Stage()
    other = stage.person("odd@example.com", roles={"operator"})
    return stage, People(stage.bot, stage.owner, stage.approver, stage.operator, other)


_STAGE, PEOPLE = _people()
_TASKS = tuple(_STAGE.start(minutes=minutes) for minutes in (60, 3))


class World:
    """Everything of one schedule."""

    def __init__(self, seed: int, parts: Parts | None = None, *, told: bool = False) -> None:
        self.parts = parts or Parts()
        self.random = Random(seed)
        self.scheduler = Scheduler(
            self.random, mood_of(self.random), self._time_moves, [] if told else None
        )
        self.store = self.parts.store(self.scheduler)
        self.store.state.agents[_STAGE.agent.id] = _STAGE.agent
        self.tasks: Sequence[Task] = _TASKS[: 1 + (self.random.random() < 0.3)]
        self.store.state.tasks.update({x.id: x for x in self.tasks})
        luck = self.random.random()
        self.back_end = SimBackEnd(
            self._now, self.scheduler, self.random.random,
            cuttable=luck < 0.85, looks=luck < 0.7, denies=luck > 0.92,
        )  # fmt: skip
        odd = Random(f"renewable 0 {seed}").random() < 0.5  # older seeds keep their stories
        self.renewable = self.back_end.cuttable and odd
        self.sealing = Random(f"sealing 1 {seed}").random() < 0.25
        self.watch = Watch(self.store, self.back_end)
        self.broker = self._broker()

    def run(self) -> None:
        """The schedule, then rest: raises Violation, Endless, or a defect."""
        self.scheduler.run()
        self._rest()
        self.watch.quiet()
        reconcile(self.broker, "fake")
        self._rest()
        self.watch.reconciled()

    def ask(self, scope: Scope = READ, key: str = "key") -> Ask:
        """An ask in the first task, renewable in half of the worlds, sealed in less."""
        life = timedelta(minutes=12) if self.renewable else None
        to = _KEY if self.sealing else None
        return Ask(self.tasks[0].id, scope, timedelta(minutes=5), "because", key, life, to)

    def fresh(self, person: Caller, name: str) -> Caller:
        """The same person after a login made for one object."""
        return replace(person, fresh_for=name, auth_time=self.store.time)

    def tick(self) -> int:
        """What the clock does in every replica."""
        due = duties_due(self.broker)
        for duty, flow in BEFORE_SWEEP.items():
            if duty in due:
                flow(self.broker)
        return self.parts.sweep(self.broker, 64) if due else 0

    def _rest(self) -> None:
        """Let time pass and the clock tick until nothing is due any more."""
        for _ in range(60):
            more = self.tick()
            while more:
                more = self.parts.sweep(self.broker, 64)
            dues = [x.due_at for x in self.store.state.leases.values() if x.due_at is not None]
            coming = [x.at for x in self.back_end.coming]
            if not dues and not coming:
                return
            until = min(dues + coming)
            self.scheduler.advance(max(0.001, (until - self.store.time).total_seconds()))
        raise Violation("I12 it never becomes quiet")

    def _broker(self) -> Broker:
        return Broker(
            store=self.store,
            minters={"fake": self.back_end},
            rules=lambda: _RULES,
            clock=SimClock(self.scheduler),
            lanes=SimLanes(self.scheduler),
            notifier=KeptAlarms(),
            new_id=_ids(),
            fingerprint=lambda part: "print",
            seal=lambda to, lease_id, secret: f"sealed {lease_id}",
            jitter=self.random.random,
            installation=self.back_end.installation,
            limits=_LIMITS,
        )

    def _now(self) -> datetime:
        return self.store.time

    def _time_moves(self, by: timedelta) -> None:
        self.store.time += by
        if self.back_end.coming or not self.back_end.cuttable:
            self.back_end.time_passed()


def _ids() -> Callable[[str], str]:
    numbers = itertools.count(1000)
    return lambda kind: encode_id(kind, next(numbers).to_bytes(16, "big"))
