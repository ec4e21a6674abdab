"""Random trees of tasks, agents and people: nothing below holds what lacks above, or outlives it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.flows.chains import joined
from valetkey.core.errors import BrokerError, NotFound
from valetkey.core.kill import Height
from valetkey.core.lease import LIVE, Lease
from valetkey.core.on_behalf import Delegation
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope, within_any
from valetkey.core.task import Task, TaskState
from valetkey.flows.agents import disable_agent
from valetkey.flows.delegate import delegate, take_task
from valetkey.flows.end_task import end_overdue_tasks, end_task
from valetkey.flows.kill import kill
from valetkey.flows.on_behalf import withdraw_delegation
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.testing.brokers import Stage

SCOPES = tuple(
    map(Scope.parse, ("orders-db:read", "orders-db:read{region=eu}", "orders-db:read{region=us}"))
)
NAMES = ("refund-bot", "helper-1", "helper-2", "helper-3")
PEOPLE = ("pat@example.com", "Quinn@example.com")
SOME_SCOPES = st.lists(st.sampled_from(SCOPES), min_size=1, max_size=2, unique=True)


class Trees(RuleBasedStateMachine):
    """Four agents pass tasks on, and people let them act, while tasks end and all may be stopped."""

    tasks = Bundle("tasks")
    words = Bundle("words")

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.callers = {NAMES[0]: self.stage.bot}
        for name in NAMES[1:]:
            self.callers[name] = self._another(name)
        self.stopped: set[str] = set()
        self.gone: set[str] = set()

    def _another(self, name: str) -> Caller:
        stage = self.stage
        owner = f"{name}@example.com"
        agent = replace(stage.agent, id=stage.new_id("agent"), name=name, owner=owner, labels={})
        return joined(stage, agent)

    def _caller_of(self, task: Task) -> Caller:
        return next(x for x in self.callers.values() if x.agent_id == task.agent_id)

    @initialize(target=tasks, most=st.sampled_from((None, 1, 2)))
    def begin(self, most: int | None) -> Task:
        """A task of the first agent, perhaps with a limit."""
        plan = Plan("root", (SCOPES[0],), timedelta(hours=2), max_credentials=most)
        return start_task(self.stage.broker, self.stage.bot, plan)

    @rule(
        target=tasks,
        parent=tasks,
        to=st.sampled_from(NAMES),
        scopes=st.lists(st.sampled_from(SCOPES), min_size=1, max_size=2, unique=True),
        minutes=st.integers(1, 90),
        most=st.sampled_from((None, 1, 1, 2)),
    )
    def pass_on(
        self, parent: Task, to: str, scopes: list[Scope], minutes: int, most: int | None
    ) -> Task:
        """Somebody hands part of its work on; refused or not is the product's matter."""
        plan = Plan("part", tuple(scopes), timedelta(minutes=minutes), max_credentials=most)
        broker = self.stage.broker
        with suppress(BrokerError):
            child = delegate(broker, self._caller_of(parent), parent.id, plan, to)
            return take_task(broker, self.callers[to], child.id)
        return parent

    @rule(task=tasks, region=st.sampled_from(("eu", "us")))
    def ask(self, task: Task, region: str) -> None:
        """A credential is asked for under some task."""
        ask = self.stage.ask(task, f"orders-db:read{{region={region}}}")
        with suppress(BrokerError):
            request_credential(self.stage.broker, self._caller_of(task), ask)

    @precondition(lambda self: len(self.stage.memory.state.leases) > 2)
    @rule(task=tasks)
    def end(self, task: Task) -> None:
        """Somebody ends a task."""
        with suppress(BrokerError):
            end_task(self.stage.broker, self._caller_of(task), task.id)

    @rule(
        target=words,
        email=st.sampled_from(PEOPLE),
        to=st.sampled_from(NAMES[:2]),
        scopes=SOME_SCOPES,
        minutes=st.integers(1, 60),
    )
    def give(self, email: str, to: str, scopes: list[Scope], minutes: int) -> Delegation | None:
        """A person lets an agent act for them."""
        by = self.stage.person(email)
        texts = [str(scope) for scope in scopes]
        with suppress(BrokerError):
            return self.stage.given(*texts, minutes=minutes, agent=to, by=by)
        return None

    @rule(target=tasks, word=words, scopes=SOME_SCOPES, minutes=st.integers(1, 90))
    def act(self, word: Delegation | None, scopes: list[Scope], minutes: int) -> Task:
        """The agent begins a task on that word, or one of its own where there is none."""
        caller = next(
            (x for x in self.callers.values() if word and x.agent_id == word.agent_id),
            self.stage.bot,
        )
        lasts, name = timedelta(minutes=minutes), word.id if word else None
        plan = Plan("for somebody", tuple(scopes), lasts, on_behalf_of=name)
        with suppress(BrokerError):
            return start_task(self.stage.broker, caller, plan)
        return next(iter(self.stage.memory.state.tasks.values()))

    @precondition(lambda self: len(self.stage.memory.state.leases) > 1)
    @rule(word=words)
    def take_back(self, word: Delegation | None) -> None:
        """The person says stop, perhaps again."""
        if word is not None:
            by = self.stage.person(word.person.email)
            withdraw_delegation(self.stage.broker, by, word.id)

    @precondition(lambda self: len(self.stage.memory.state.leases) > 2 and not self.gone)
    @rule(email=st.sampled_from(PEOPLE))
    def leave(self, email: str) -> None:
        """A person is killed, once they gave anything."""
        with suppress(NotFound):
            kill(self.stage.broker, self.stage.operator, Height.PERSON, email, "left")
            self.gone.add(email)

    @rule(minutes=st.integers(1, 10))
    def pass_time(self, minutes: int) -> None:
        """Time passes, and the clock does its duty until it is done."""
        self.stage.pass_time(timedelta(minutes=minutes))
        while end_overdue_tasks(self.stage.broker):
            pass

    @precondition(lambda self: len(self.stage.memory.state.leases) > 2 and not self.stopped)
    @rule(name=st.sampled_from(NAMES[1:]), switch=st.booleans())
    def stop(self, name: str, switch: bool) -> None:
        """An agent is killed or disabled."""
        self.stopped.add(name)
        agent_id = self.callers[name].agent_id or ""
        if switch:
            kill(self.stage.broker, self.stage.operator, Height.AGENT, agent_id, "odd")
        else:
            disable_agent(self.stage.broker, self.stage.operator, agent_id)

    def _all(self) -> tuple[dict[str, Task], list[Lease]]:
        state = self.stage.memory.state
        return dict(state.tasks), list(state.leases.values())

    @invariant()
    def a_child_lies_within_every_task_above_it(self) -> None:
        """Scopes, time and depth only narrow; a chain never comes back to an agent."""
        tasks, _ = self._all()
        for task in tasks.values():
            line = [tasks[task_id] for task_id in task.ancestors] + [task]
            for above in line[:-1]:
                assert all(within_any(scope, above.scopes) for scope in task.scopes)
                assert task.deadline_at <= above.deadline_at
            assert task.depth <= self.stage.broker.limits.deepest_task
            agents = [x.agent_id for x in line]
            turns = [a for a, b in zip(agents, [*agents[1:], None], strict=True) if a != b]
            assert len(turns) == len(set(turns))

    @invariant()
    def nothing_lives_below_what_has_ended(self) -> None:
        """Neither an open task nor a live lease, whoever ended what stands above it."""
        tasks, leases = self._all()
        now = self.stage.broker.store.now()
        for task in tasks.values():
            ended = [x for x in task.ancestors if tasks[x].state is TaskState.ENDED]
            late = [x for x in task.ancestors if tasks[x].deadline_at <= now]
            assert task.state is TaskState.ENDED or not (ended or late)
        for lease in leases:
            if lease.state in LIVE and lease.task_id:
                line = (*tasks[lease.task_id].ancestors, lease.task_id)
                assert all(tasks[x].state is TaskState.OPEN for x in line)
                assert all(tasks[x].agent_id not in self._stopped_ids() for x in line)

    @invariant()
    def nobody_acts_further_or_longer_than_the_person_said(self) -> None:
        """Scopes and time of all that rests on a word lie within it, and it is told for whom."""
        tasks, _ = self._all()
        for task in tasks.values():
            word = self._word(task)
            assert task.on_behalf_of == (word.person.principal if word else None)
            if word is not None:
                assert all(within_any(scope, word.scopes) for scope in task.scopes)
                assert task.deadline_at <= word.until
                assert tasks[self._line(task.id)[0]].agent_id == word.agent_id

    @invariant()
    def nothing_lives_on_a_word_that_is_over(self) -> None:
        """Neither a task nor a credential, at any depth, of whoever; nor for a person killed."""
        tasks, leases = self._all()
        now = self.stage.broker.store.now()
        for task in tasks.values():
            word = self._word(task)
            assert task.state is TaskState.ENDED or word is None or word.is_live(now)
        for lease in leases:
            word = self._word(tasks[lease.task_id or ""])
            if lease.state in LIVE and word is not None:
                assert word.is_live(now)
                assert word.person.email not in {email.casefold() for email in self.gone}

    def _word(self, task: Task) -> Delegation | None:
        """What the root above a task rests on."""
        state = self.stage.memory.state
        return state.delegations.get(state.tasks[self._line(task.id)[0]].delegation_id or "")

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        """All that was ever written under a task counts against its limit."""
        tasks, leases = self._all()
        for task in tasks.values():
            if task.max_credentials is not None:
                under = [x for x in leases if x.task_id and task.id in self._line(x.task_id)]
                assert len(under) <= task.max_credentials

    def _line(self, task_id: str) -> tuple[str, ...]:
        return (*self.stage.memory.state.tasks[task_id].ancestors, task_id)

    def _stopped_ids(self) -> set[str]:
        return {self.callers[name].agent_id or "" for name in self.stopped}


Trees.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, derandomize=True
)


class TestTrees(Trees.TestCase):  # type: ignore[misc, name-defined]
    """Runs the machine."""
