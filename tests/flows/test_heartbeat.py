"""Stories of tasks that live by a heartbeat."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import facts, issued, kinds, lease_now
from valetkey.core.errors import InvalidRequest, NotFound, StaleHeartbeat, TaskEnded
from valetkey.core.lease import LeaseState
from valetkey.core.scope import Scope
from valetkey.core.task import Task, TaskState
from valetkey.flows.end_task import end_overdue_tasks, receipt
from valetkey.flows.heartbeat import heartbeat
from valetkey.flows.start_task import Plan, start_task
from valetkey.testing.brokers import Stage

BEAT = timedelta(seconds=10)


def beating(stage: Stage) -> Task:
    """A task of an hour that beats every ten seconds."""
    plan = Plan("a refund", (Scope("orders-db", "read"),), timedelta(hours=1), BEAT)
    return start_task(stage.broker, stage.bot, plan)


def task_now(stage: Stage, task: Task) -> Task:
    """A task as it is now."""
    with stage.broker.store.transaction() as tx:
        found = tx.task(task.id)
    assert found is not None
    return found


def test_a_task_that_beats_lives(stage: Stage) -> None:
    """Each beat moves its silence on; no beat is a fact."""
    task = beating(stage)
    for _ in range(10):
        stage.pass_time(2 * BEAT)
        task = heartbeat(stage.broker, stage.bot, task.id, task.beat_fence)
        assert end_overdue_tasks(stage.broker) == 0
    assert issued(stage, stage.ask(task)).lease.state is LeaseState.ACTIVE
    assert task.beat_fence == 11
    assert kinds(stage).count("TaskStarted") == 1
    assert "RequestRefused" not in kinds(stage)


def test_a_task_that_missed_its_beats_ends_with_its_credentials(stage: Stage) -> None:
    """After three in a row, by the sweep, with a reason of its own."""
    task = beating(stage)
    lease = issued(stage, stage.ask(task)).lease
    stage.pass_time(3 * BEAT - timedelta(seconds=1))
    assert end_overdue_tasks(stage.broker) == 0
    stage.pass_time(timedelta(seconds=1))
    assert end_overdue_tasks(stage.broker) == 1
    assert task_now(stage, task).end_reason == "heartbeat_missed"
    assert lease_now(stage, lease).state is LeaseState.ENDING
    assert receipt(stage.broker, stage.bot, task.id).end_reason == "heartbeat_missed"
    (ended,) = facts(stage, kind="TaskEnded")
    assert (ended.fact.by, ended.fact.outcome) == ("clock", "heartbeat_missed")


def test_how_many_beats_may_be_missed_is_a_setting(stage: Stage) -> None:
    """One is enough where it says so."""
    stage.broker = replace(stage.broker, limits=replace(stage.broker.limits, missed_beats=1))
    beating(stage)
    stage.pass_time(BEAT)
    assert end_overdue_tasks(stage.broker) == 1


def test_a_late_beat_with_an_old_fence_changes_nothing(stage: Stage) -> None:
    """A process that slept while another beat for the task is told to stop."""
    task = beating(stage)
    heartbeat(stage.broker, stage.bot, task.id, task.beat_fence)
    before = task_now(stage, task)
    stage.pass_time(BEAT)
    with pytest.raises(StaleHeartbeat):
        heartbeat(stage.broker, stage.bot, task.id, task.beat_fence)
    assert task_now(stage, task) == before


def test_a_beat_after_the_silence_does_not_wake_the_task(stage: Stage) -> None:
    """Neither before the sweep has come by nor after; and nothing is issued."""
    task = beating(stage)
    stage.pass_time(3 * BEAT)
    with pytest.raises(TaskEnded):
        heartbeat(stage.broker, stage.bot, task.id, task.beat_fence)
    with pytest.raises(TaskEnded):
        issued(stage, stage.ask(task))
    assert task_now(stage, task).state is TaskState.OPEN
    end_overdue_tasks(stage.broker)
    with pytest.raises(TaskEnded):
        heartbeat(stage.broker, stage.bot, task.id, task.beat_fence)


def test_what_is_minted_for_a_task_that_fell_silent_meanwhile_is_not_handed_out(
    stage: Stage,
) -> None:
    """The second look finds it silent, as it would find it ended."""
    task = beating(stage)
    stage.pass_time(2 * BEAT)
    stage.minter.before_mint = lambda: stage.pass_time(BEAT)
    with pytest.raises(TaskEnded):
        issued(stage, stage.ask(task))


def test_only_the_task_s_own_agent_with_its_key_beats(stage: Stage) -> None:
    """For others there is no such task; nor for anybody, of an id that is none."""
    task = beating(stage)
    for caller in (replace(stage.bot, jkt="other"), replace(stage.bot, agent_id="agent_x")):
        with pytest.raises(NotFound):
            heartbeat(stage.broker, caller, task.id, task.beat_fence)
    with pytest.raises(NotFound):
        heartbeat(stage.broker, stage.bot, "task_none", 1)


def test_a_task_without_heartbeat_neither_beats_nor_falls_silent(stage: Stage) -> None:
    """It lives until its deadline, as before."""
    task = stage.start()
    stage.pass_time(timedelta(minutes=59))
    assert end_overdue_tasks(stage.broker) == 0
    with pytest.raises(InvalidRequest):
        heartbeat(stage.broker, stage.bot, task.id, 1)
    stage.pass_time(timedelta(minutes=1))
    end_overdue_tasks(stage.broker)
    assert task_now(stage, task).end_reason == "deadline"
