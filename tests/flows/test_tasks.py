"""Stories of tasks: a start is a decision, an end is a receipt that only moves forward."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import facts, issued, kinds, lease_now, leases, sweep_until_quiet
from valetkey.core.agent import AgentState
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.errors import (
    AgentDisabled,
    DeniedByPolicy,
    InvalidParameter,
    InvalidRequest,
    InvalidTtl,
    Killed,
    MinterUnavailable,
    NotFound,
    OutsideBoundary,
    TaskEnded,
    UnknownScope,
)
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.core.task import TaskState
from valetkey.flows.end_task import end_overdue_tasks, end_task, may_see, receipt
from valetkey.flows.kill import kill
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.testing.brokers import Stage


class NoTasks:
    """A policy under which no task may start."""

    def decide(self, question: Question) -> Decision:
        """Deny."""
        return Decision(Outcome.DENY, ("no-tasks",), "hash", "digest", {"depth": question.depth})


def test_a_started_task_is_bound_to_its_starter(stage: Stage) -> None:
    """Owner from the agent, key from the caller, deadline from the plan, one fact."""
    task = stage.start(minutes=30)
    assert (task.owner, task.starter_jkt) == ("olivia@example.com", "bot-key")
    assert task.deadline_at - task.started_at == timedelta(minutes=30)
    assert kinds(stage, task_id=task.id) == ["TaskStarted"]


def test_a_task_that_policy_denies_is_recorded_and_does_not_exist(stage: Stage) -> None:
    """The denial survives its error, with the decision; there is no task to ask under."""
    stage.rules.policy = NoTasks()
    with pytest.raises(DeniedByPolicy) as refused:
        stage.start()
    denial = facts(stage)[-1].fact
    assert (denial.kind.value, denial.decision_id) == ("TaskDenied", refused.value.decision_id)
    with stage.broker.store.transaction() as tx:
        assert tx.tasks(None, None) == []


def test_policy_may_shorten_a_task(stage: Stage) -> None:
    """The deadline is the lower of plan and policy."""
    stage.policy.max_ttl = timedelta(minutes=10)
    task = stage.start(minutes=60)
    assert task.deadline_at - task.started_at == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("scopes", "minutes", "refusal"),
    [
        ((), 60, InvalidRequest),
        (("orders-db:erase",), 60, UnknownScope),
        (("orders-db:read{region=mars}",), 60, InvalidParameter),
        (("orders-db:read{table=all}",), 60, InvalidParameter),
        (("orders-db:read",), 8 * 60 + 1, InvalidTtl),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(
    stage: Stage, scopes: tuple[str, ...], minutes: int, refusal: type[Exception]
) -> None:
    """Before policy is asked, and nothing is written."""
    plan = Plan("x", tuple(Scope.parse(text) for text in scopes), timedelta(minutes=minutes))
    with pytest.raises(refusal):
        start_task(stage.broker, stage.bot, plan)
    assert kinds(stage) == []


def test_a_task_wider_than_the_boundary_is_refused(stage: Stage) -> None:
    """The agent's outer boundary holds for what a task may declare."""
    with stage.broker.store.transaction() as tx:
        tx.save_agent(replace(stage.agent, boundary=(Scope.parse("orders-db:read{region=eu}"),)))
    with pytest.raises(OutsideBoundary):
        stage.start("orders-db:read")
    assert stage.start("orders-db:read{region=eu}").state is TaskState.OPEN


def test_a_disabled_agent_starts_nothing(stage: Stage) -> None:
    """It is told so."""
    with stage.broker.store.transaction() as tx:
        tx.save_agent(replace(stage.agent, state=AgentState.DISABLED))
    with pytest.raises(AgentDisabled):
        stage.start()


@pytest.mark.parametrize("height", [Height.AGENT, Height.EVERYTHING])
def test_a_kill_blocks_new_tasks(stage: Stage, height: Height) -> None:
    """No task starts under a kill of its agent or of everything."""
    subject = stage.agent.id if height is Height.AGENT else ""
    kill(stage.broker, stage.operator, height, subject, "odd")
    with pytest.raises(Killed):
        stage.start()


def test_ending_a_task_ends_what_it_holds_and_gives_a_complete_receipt(stage: Stage) -> None:
    """The receipt names every credential with its state and proof."""
    task = stage.start()
    held = [issued(stage, stage.ask(task)).lease for _ in range(3)]
    done = end_task(stage.broker, stage.bot, task.id)
    assert done.complete
    assert [lease.id for lease in done.leases] == sorted(lease.id for lease in held)
    assert {lease.proof for lease in done.leases} == {Proof.VERIFIED}
    assert stage.minter.alive == {}


def test_ending_twice_gives_the_same_receipt(stage: Stage) -> None:
    """Same id, same instant, same leases for ever; and one fact."""
    task = stage.start()
    issued(stage, stage.ask(task))
    first = end_task(stage.broker, stage.bot, task.id)
    stage.pass_time(timedelta(hours=1))
    second = end_task(stage.broker, stage.owner, task.id)
    assert second == first
    assert first.id == task.receipt_id
    assert receipt(stage.broker, stage.bot, task.id) == first
    assert kinds(stage).count("TaskEnded") == 1


def test_a_receipt_that_is_still_settling_only_moves_forward(stage: Stage) -> None:
    """While the back end is away it says until when each may work; later it says ended."""
    task = stage.start()
    lease = issued(stage, stage.ask(task)).lease
    stage.minter.fail_end.extend(MinterUnavailable() for _ in range(100))
    first = end_task(stage.broker, stage.bot, task.id)
    assert not first.complete
    assert first.leases[0].still_valid_until == lease.backend_expires_at
    stage.minter.fail_end.clear()
    sweep_until_quiet(stage, timedelta(minutes=6))
    later = receipt(stage.broker, stage.bot, task.id)
    assert later.complete
    assert (later.id, later.ended_at, [x.id for x in later.leases]) == (
        first.id,
        first.ended_at,
        [x.id for x in first.leases],
    )


def test_an_open_task_has_no_receipt(stage: Stage) -> None:
    """There is nothing to receipt yet."""
    with pytest.raises(NotFound):
        receipt(stage.broker, stage.bot, stage.start().id)


def test_an_ask_on_an_ended_task_is_refused(stage: Stage) -> None:
    """Authority died with the task."""
    task = stage.start()
    end_task(stage.broker, stage.bot, task.id)
    with pytest.raises(TaskEnded):
        request_credential(stage.broker, stage.bot, stage.ask(task))
    assert leases(stage) == []


def test_an_ask_after_the_deadline_is_refused_before_the_clock_ends_the_task(stage: Stage) -> None:
    """The deadline itself is the end, not the sweep that records it."""
    task = stage.start(minutes=5)
    stage.pass_time(timedelta(minutes=5))
    with pytest.raises(TaskEnded):
        request_credential(stage.broker, stage.bot, stage.ask(task))


def test_a_task_past_its_deadline_is_ended_by_the_clock(stage: Stage) -> None:
    """Its leases go with it, and the receipt says why."""
    task = stage.start(minutes=5)
    lease = issued(stage, stage.ask(task, ttl=timedelta(minutes=4))).lease
    assert end_overdue_tasks(stage.broker) == 0
    stage.pass_time(timedelta(minutes=5))
    assert end_overdue_tasks(stage.broker) == 1
    assert end_overdue_tasks(stage.broker) == 0
    assert lease_now(stage, lease).state is not LeaseState.ACTIVE
    assert receipt(stage.broker, stage.owner, task.id).end_reason == "deadline"


def test_only_those_concerned_end_or_see_a_task(stage: Stage) -> None:
    """A stranger, another agent and another key meet nothing."""
    task = stage.start()
    strangers = (
        stage.person("sam@example.com"),
        replace(stage.bot, agent_id="agent_other"),
        replace(stage.bot, jkt="stolen"),
    )
    for stranger in strangers:
        with pytest.raises(NotFound):
            end_task(stage.broker, stranger, task.id)
    assert kinds(stage, task_id=task.id) == ["TaskStarted"]


def test_an_auditor_sees_a_task_and_cannot_end_it(stage: Stage) -> None:
    """Looking is not touching: the task stays open, and there is no receipt."""
    task = stage.start()
    auditor = stage.person("audrey@example.com", roles={"auditor"})
    assert may_see(auditor, task)
    with pytest.raises(NotFound):
        end_task(stage.broker, auditor, task.id)
    assert "TaskEnded" not in kinds(stage)
