"""Heartbeats over HTTP: fences in the answers, late beats, strangers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.api.hall import Hall
from tests.api.test_journeys import shaped
from valetkey.flows.end_task import end_overdue_tasks
from valetkey.web.api import answers


def beating(hall: Hall, heartbeat: object = 10) -> Any:
    """The answer to the start of a task that beats."""
    plan = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600, "heartbeat": heartbeat}
    return hall.bot.call("POST", "/v1/tasks", plan)


def beat(hall: Hall, task: str, fence: object) -> Any:
    """The answer to one beat."""
    return hall.bot.call("POST", f"/v1/tasks/{task}/heartbeat", {"fence": fence})


def test_each_beat_answers_the_fence_of_the_next(hall: Hall) -> None:
    """It moves `silent_at` on; the task shows both."""
    task = shaped(answers.Task, beating(hall).json())
    assert (task["heartbeat"], task["fence"]) == (10, 1)
    hall.stage.pass_time(timedelta(seconds=5))
    after = beat(hall, task["id"], 1)
    assert after.status_code == 200, after.text
    told = shaped(answers.Task, after.json())
    assert told["fence"] == 2
    assert told["silent_at"] > task["silent_at"]
    assert hall.bot.get(f"/v1/tasks/{task['id']}") == told


def test_a_beat_with_an_old_fence_is_409_and_changes_nothing(hall: Hall) -> None:
    """With a code that says to stop, and one fact."""
    task = beating(hall).json()
    before = beat(hall, task["id"], 1).json()
    late = beat(hall, task["id"], 1)
    assert (late.status_code, late.json()["code"]) == (409, "stale_heartbeat")
    assert hall.bot.get(f"/v1/tasks/{task['id']}") == before
    assert hall.refusals() == ["stale_heartbeat"]


def test_a_silent_task_ends_with_its_reason_on_the_receipt(hall: Hall) -> None:
    """And a beat that comes after that finds it ended."""
    task = beating(hall).json()["id"]
    lease = hall.bot.ask(task).json()["lease"]
    hall.stage.pass_time(timedelta(seconds=30))
    end_overdue_tasks(hall.stage.broker)
    late = beat(hall, task, 1)
    assert (late.status_code, late.json()["code"]) == (409, "task_ended")
    receipt = shaped(answers.Receipt, hall.bot.get(f"/v1/tasks/{task}/receipt"))
    assert receipt["reason"] == "heartbeat_missed"
    assert [held["id"] for held in receipt["leases"]] == [lease["id"]]


def test_people_do_not_beat_and_strangers_find_no_task(hall: Hall) -> None:
    """Not even the owner keeps an agent's task alive."""
    task = beating(hall).json()["id"]
    path = f"/v1/tasks/{task}/heartbeat"
    assert hall.owner.call("POST", path, {"fence": 1}).json()["code"] == "wrong_door"
    stranger = hall.visitor(hall.stage.bot)
    assert stranger.call("POST", path, {"fence": 1}).json()["code"] == "not_found"


@pytest.mark.parametrize("heartbeat", [0, -1, 3601, "10", 1.5, True])
def test_a_heartbeat_that_is_none_is_422(hall: Hall, heartbeat: object) -> None:
    """A whole number of seconds, up to an hour."""
    assert beating(hall, heartbeat).json()["code"] == "invalid_request"


@pytest.mark.parametrize("fence", [0, -1, "1", None, 1.0, 2**60])
def test_a_fence_that_is_none_is_422(hall: Hall, fence: object) -> None:
    """A whole number above zero."""
    task = beating(hall).json()["id"]
    assert beat(hall, task, fence).json()["code"] == "invalid_request"


def test_a_task_without_heartbeat_has_no_fence(hall: Hall) -> None:
    """And takes no beats."""
    task = shaped(answers.Task, hall.bot.start())
    assert (task["heartbeat"], task["silent_at"], task["fence"]) == (None, None, None)
    assert beat(hall, task["id"], 1).json()["code"] == "invalid_request"
