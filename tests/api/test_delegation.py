"""Tasks under tasks over HTTP: opened, taken, drawn as a tree, and refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.hall import Hall, Visitor
from tests.api.test_journeys import shaped
from tests.flows.chains import helper_bot
from valetkey.web.api import answers

READ_EU = "orders-db:read{region=eu}"


def passed_on(hall: Hall, parent: str | None, **more: object) -> Any:
    """The answer to a child task for the helper."""
    plan = {"purpose": "part of it", "scopes": [READ_EU], "ttl": 600}
    return hall.bot.call("POST", "/v1/tasks", {**plan, "parent": parent, **more})


def helper(hall: Hall) -> Visitor:
    """Another agent with a key of its own."""
    return hall.visitor(helper_bot(hall.stage))


@pytest.mark.parametrize("kind", ["hall", "live_hall"])
def test_a_task_is_passed_on_taken_used_and_ends_from_the_top(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """On memory and on PostgreSQL; the receipt above holds what was given below."""
    hall: Hall = request.getfixturevalue(kind)
    other = helper(hall)
    parent = hall.bot.start()["id"]
    answer = passed_on(hall, parent, agent="helper-bot", max_credentials=2)
    assert answer.status_code == 201, answer.text
    child = shaped(answers.Task, answer.json())
    assert (child["parent"], child["depth"], child["taken"]) == (parent, 1, False)
    assert other.ask(child["id"]).json()["code"] == "not_found"
    taken = other.call("POST", f"/v1/tasks/{child['id']}/take", {})
    assert shaped(answers.Task, taken.json())["taken"] is True
    given = other.ask(child["id"])
    assert given.status_code == 201, given.text
    tree = shaped(answers.TaskTree, hall.bot.get(f"/v1/tasks/{parent}/tree"))
    assert [(x["agent"], len(x["leases"])) for x in tree["children"]] == [("helper-bot", 1)]
    hall.bot.call("POST", f"/v1/tasks/{parent}/end", {})
    receipt = hall.bot.get(f"/v1/tasks/{parent}/receipt")
    assert [lease["id"] for lease in receipt["leases"]] == [given.json()["lease"]["id"]]
    late = other.ask(child["id"])
    assert (late.status_code, late.json()["code"]) == (409, "task_ended")


def test_what_cannot_be_passed_on_is_refused_in_words(hall: Hall) -> None:
    """Wider, unknown, without a parent, beyond the budget: each with its own code."""
    helper(hall)
    parent = hall.bot.start(READ_EU)["id"]
    wider = passed_on(hall, parent, scopes=["orders-db:read{region=us}"])
    assert (wider.status_code, wider.json()["code"]) == (403, "outside_task")
    nobody = passed_on(hall, parent, agent="nobody")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    orphan = passed_on(hall, None, agent="helper-bot")
    assert orphan.json()["code"] == "invalid_request"
    other = helper_bot(hall.stage, "stranger-bot")
    stranger = hall.visitor(other)
    theirs = stranger.call(
        "POST",
        "/v1/tasks",
        {"purpose": "x", "scopes": [READ_EU], "ttl": 60, "parent": parent},
    )
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    once = passed_on(hall, parent, max_credentials=1).json()["id"]
    assert hall.bot.ask(once).status_code == 201
    spent = hall.bot.ask(once)
    assert (spent.status_code, spent.json()["code"]) == (409, "budget_spent")
    deeper = once
    for _ in range(2):
        deeper = passed_on(hall, deeper).json()["id"]
    refused = passed_on(hall, deeper)
    assert (refused.status_code, refused.json()["code"]) == (403, "delegation_refused")


@pytest.mark.parametrize("most", [0, -1, "3", 1.5, True])
def test_a_limit_that_is_none_is_refused(hall: Hall, most: object) -> None:
    """A whole number above zero."""
    plan = {"purpose": "x", "scopes": [READ_EU], "ttl": 60, "max_credentials": most}
    assert hall.bot.call("POST", "/v1/tasks", plan).json()["code"] == "invalid_request"
