"""The memory store's tables, and its queries over tasks and what stands above and below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from valetkey.core.agent import Agent, Binding
from valetkey.core.decision import Decision
from valetkey.core.delegation import Link
from valetkey.core.facts import RecordedFact
from valetkey.core.grant import Approval, Grant
from valetkey.core.kill import VENDOR, Kill, Reach, stops
from valetkey.core.lease import Lease
from valetkey.core.on_behalf import Delegation
from valetkey.core.proposal import Proposal
from valetkey.core.rules import Activation, RulesProposal, RulesVersion
from valetkey.core.sealing import SealedAnswer
from valetkey.core.tally import Tallies
from valetkey.core.task import Task, TaskState
from valetkey.ports import Standing


@dataclass
class _State:
    agents: dict[str, Agent] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    sealed_answers: dict[str, SealedAnswer] = field(default_factory=dict)
    delegations: dict[str, Delegation] = field(default_factory=dict)
    rules_versions: dict[str, RulesVersion] = field(default_factory=dict)
    rules_activations: dict[int, Activation] = field(default_factory=dict)
    rules_proposals: dict[str, RulesProposal] = field(default_factory=dict)
    kills: dict[str, Kill] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)
    facts: list[RecordedFact] = field(default_factory=list)
    revoked: dict[str, str] = field(default_factory=dict)
    tallies: dict[str, Tallies] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=lambda: {"installation": "abcdefe1"})

    def copy(self) -> _State:
        return _State(**{name: value.copy() for name, value in vars(self).items()})


def on_behalf(delegation: Delegation | None) -> Reach:
    """What a kill of a person is held against; nothing without a delegation."""
    person = delegation.person if delegation else None
    if person is None:
        return Reach()
    return Reach(person=person.principal, person_email=person.email)


class TaskQueries:
    """What a transaction of the memory store can say of tasks."""

    @property
    def _state(self) -> _State:
        raise NotImplementedError

    def now(self) -> datetime:
        raise NotImplementedError

    def kills_over(self, reach: Reach) -> Sequence[Kill]:
        raise NotImplementedError

    def task(self, task_id: str, *, lock: bool = False, share: bool = False) -> Task | None:
        return self._state.tasks.get(task_id)

    def standing(
        self, task_id: str, scope: str | None = None, lease_id: str | None = None
    ) -> Standing | None:
        task = self._state.tasks.get(task_id)
        agent = self._state.agents.get(task.agent_id) if task else None
        if task is None or agent is None:
            return None
        target = scope.partition(":")[0] if scope else None
        held = {"scope": scope, "target": target, "lease_id": lease_id}
        reach = replace(self._of_task(task), **held)
        over = [*self.kills_over(reach)]
        for higher in self._above(task):
            over += [kill for kill in self.kills_over(higher) if kill not in over]
        tasks = [self._state.tasks[task_id] for task_id in task.ancestors]
        above = tuple(
            Link(one, self._state.agents[one.agent_id], self._rests_on(one)) for one in tasks
        )
        return Standing(task, agent, tuple(over), above, self._rests_on(task))

    def _rests_on(self, task: Task) -> Delegation | None:
        return self._state.delegations.get(task.delegation_id or "")

    def _above(self, task: Task) -> list[Reach]:
        """The reaches of the tasks above one."""
        return [self._of_task(self._state.tasks[task_id]) for task_id in task.ancestors]

    def _of_task(self, task: Task) -> Reach:
        whose = on_behalf(self._rests_on(task))
        return replace(
            self._of_agent(self._state.agents[task.agent_id]),
            task_id=task.id,
            owner=task.owner,
            issuer=task.issuer,
            person=whose.person,
            person_email=whose.person_email,
        )

    def tasks(self, agent_id: str | None, owner: str | None) -> Sequence[Task]:
        found = [
            task
            for task in self._state.tasks.values()
            if agent_id in (None, task.agent_id) and owner in (None, task.owner)
        ]
        return sorted(found, key=lambda task: task.id, reverse=True)

    def tasks_overdue(self, limit: int) -> Sequence[Task]:
        late = [
            task
            for task in self._state.tasks.values()
            if task.state is TaskState.OPEN
            and (
                min(task.deadline_at, task.silent_at or task.deadline_at) <= self.now()
                or self._is_left(task)
            )
        ]
        return late[:limit]

    def _is_left(self, task: Task) -> bool:
        parent = self._state.tasks.get(task.parent_id or "")
        return parent is not None and parent.state is TaskState.ENDED

    def tasks_below(self, task_id: str) -> Sequence[Task]:
        found = [x for x in self._state.tasks.values() if task_id in x.ancestors]
        return sorted(found, key=lambda task: task.id)

    def open_tasks_of(self, agent_id: str) -> Sequence[Task]:
        return [x for x in self.tasks(agent_id, None)[::-1] if x.state is TaskState.OPEN]

    def opened_by(self, agent_id: str, most: int) -> int:
        tasks = self._state.tasks
        opened = [
            x
            for x in tasks.values()
            if x.state is TaskState.OPEN
            and tasks[x.parent_id or x.id].agent_id == agent_id
            and tasks[x.parent_id or x.id].state is TaskState.OPEN
        ]
        return min(len(opened), most)

    def spend(self, task_ids: Sequence[str]) -> bool:
        tasks = [self._state.tasks[task_id] for task_id in task_ids]
        most = {x.id: x.max_credentials for x in tasks if x.max_credentials is not None}
        spent = {task_id: self._state.budgets.get(task_id, 0) for task_id in most}
        if any(spent[task_id] >= limit for task_id, limit in most.items()):
            return False
        self._state.budgets.update({task_id: used + 1 for task_id, used in spent.items()})
        return True

    def add_task(self, task: Task) -> None:
        self._state.tasks[task.id] = task

    save_task = add_task

    def _is_under(self, kill: Kill, lease: Lease) -> bool:
        """Covered itself, or through a task above its own."""
        task = self._state.tasks.get(lease.task_id or "")
        above = self._above(task) if task else []
        return any(stops(kill, reach) for reach in (self._reach(lease), *above))

    @staticmethod
    def _of_agent(agent: Agent) -> Reach:
        return Reach(agent_id=agent.id, owner=agent.owner, vendor=agent.labels.get(VENDOR))

    def _reach(self, lease: Lease) -> Reach:
        agent = self._state.agents.get(lease.agent_id or "")
        task = self._state.tasks.get(lease.task_id or "")
        whose = on_behalf(self._rests_on(task) if task else None)
        return Reach(
            agent_id=lease.agent_id,
            task_id=lease.task_id,
            target=lease.target,
            lease_id=lease.id,
            owner=lease.owner,
            vendor=agent.labels.get(VENDOR) if agent else None,
            issuer=task.issuer if task else None,
            scope=lease.scope,
            person=whose.person,
            person_email=whose.person_email,
        )
