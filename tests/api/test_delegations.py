"""People let agents act for them over HTTP, see who does, and take it back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.hall import Hall, Visitor
from tests.api.test_journeys import shaped
from valetkey.web.api import answers, delegation_answers

READ, READ_EU = "orders-db:read", "orders-db:read{region=eu}"


def person(hall: Hall) -> Visitor:
    """Somebody with a login of a moment ago."""
    return hall.visitor(hall.stage.pat)


def given(hall: Hall, *scopes: str, ttl: int = 3600) -> Any:
    """A delegation to the bot, after the login that the first refusal asks for."""
    body = {"agent": "refund-bot", "scopes": list(scopes or (READ,)), "ttl": ttl}
    refused = person(hall).call("POST", "/v1/delegations", body)
    assert (refused.status_code, refused.json()["code"]) == (401, "fresh_login_required")
    fresh = hall.fresh(person(hall), refused.json()["fresh_for"])
    answer = fresh.call("POST", "/v1/delegations", body)
    assert answer.status_code == 201, answer.text
    return shaped(delegation_answers.Delegation, answer.json())


def started(hall: Hall, delegation: object, scope: str = READ_EU, **more: object) -> Any:
    """The answer to a task of the bot on somebody's behalf."""
    plan = {"purpose": "for pat", "scopes": [scope], "ttl": 7200, "on_behalf_of": delegation}
    return hall.bot.call("POST", "/v1/tasks", {**plan, **more})


@pytest.mark.parametrize("kind", ["hall", "live_hall"])
def test_an_agent_acts_for_a_person_until_they_take_it_back(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """On memory and on PostgreSQL, with tasks below, found by the person and ended by them."""
    hall: Hall = request.getfixturevalue(kind)
    one = given(hall)
    assert (one["agent"], one["live"], one["source"]) == ("refund-bot", True, "login")
    task = shaped(answers.Task, started(hall, one["id"]).json())
    assert (task["delegation"], task["deadline_at"]) == (one["id"], one["until"])
    assert task["on_behalf_of"] == one["on_behalf_of"]["principal"]
    part = {"purpose": "part", "scopes": [READ_EU], "ttl": 600, "parent": task["id"]}
    child = hall.bot.call("POST", "/v1/tasks", part).json()
    assert (child["on_behalf_of"], child["delegation"]) == (task["on_behalf_of"], None)
    leases = [hall.bot.ask(x["id"]).json()["lease"]["id"] for x in (task, child)]
    pat = person(hall)
    mine = pat.get("/v1/leases?on_behalf_of=me&state=active")["items"]
    assert sorted(x["id"] for x in mine) == sorted(leases)
    tasks = pat.get("/v1/tasks?on_behalf_of=me")["items"]
    assert {x["id"] for x in tasks} == {task["id"], child["id"]}
    assert hall.operator.get("/v1/leases?on_behalf_of=pat@example.com")["items"] == mine
    tree = shaped(answers.TaskTree, pat.get(f"/v1/tasks/{task['id']}/tree"))
    assert len(tree["children"]) == 1
    back = pat.call("POST", f"/v1/delegations/{one['id']}/withdraw", {})
    assert (back.status_code, back.json()["live"]) == (200, False)
    for x in (task, child):
        late = hall.bot.ask(x["id"])
        assert (late.status_code, late.json()["code"]) == (409, "delegation_ended")
    again = started(hall, one["id"])
    assert (again.status_code, again.json()["code"]) == (409, "delegation_ended")
    receipt = pat.get(f"/v1/tasks/{task['id']}/receipt")
    assert {x["id"]: x["state"] for x in receipt["leases"]} == dict.fromkeys(leases, "ended")
    (seen,) = hall.bot.get("/v1/delegations")["items"]
    assert shaped(delegation_answers.Delegation, seen) == pat.get(f"/v1/delegations/{one['id']}")
    told = [x["kind"] for x in pat.get("/v1/history?owner=pat@example.com")["items"]]
    assert told == ["DelegationWithdrawn", "DelegationGiven"]


def test_a_kill_of_a_person_stops_what_is_done_for_them(live_hall: Hall) -> None:
    """By address in any case, or by issuer and subject; at all depths, on PostgreSQL."""
    hall = live_hall
    one = given(hall)
    task = started(hall, one["id"]).json()["id"]
    part = {"purpose": "part", "scopes": [READ_EU], "ttl": 600, "parent": task}
    child = hall.bot.call("POST", "/v1/tasks", part).json()["id"]
    own = hall.bot.start()["id"]
    for subject in ("Pat@Example.com", "https://people pat@example.com"):
        order = {"height": "person", "subject": subject, "reason": "gone"}
        lease = hall.bot.ask(child).json()["lease"]["id"]
        killed = hall.operator.call("POST", "/v1/kill", order)
        assert (killed.status_code, killed.json()["ended"]) == (202, 1), killed.text
        assert hall.operator.get(f"/v1/leases/{lease}")["proof"] == "verified"
        codes = [hall.bot.ask(x).json().get("code") for x in (task, child, own)]
        assert codes == ["killed", "killed", None]
        assert started(hall, one["id"]).json()["code"] == "killed"
        name = killed.json()["id"]
        second = hall.visitor(hall.stage.person("otto@example.com", roles={"operator"}))
        release = hall.fresh(second, f"release:{name}")
        assert release.call("POST", f"/v1/kill/{name}/release", {}).status_code == 200
    nobody = {"height": "person", "subject": "nobody@example.com", "reason": "gone"}
    assert hall.operator.call("POST", "/v1/kill", nobody).json()["code"] == "not_found"


def test_what_cannot_be_done_for_a_person_is_refused_in_words(hall: Hall) -> None:
    """Wider than given, another's, a child with a person of its own, an id that is none."""
    one = given(hall, READ_EU)
    wider = started(hall, one["id"], "orders-db:read{region=us}")
    assert (wider.status_code, wider.json()["code"]) == (403, "outside_delegation")
    parent = hall.bot.start()["id"]
    assert started(hall, one["id"], parent=parent).json()["code"] == "invalid_request"
    for name in ("delegation_1", "x", "task_" + "0" * 26, "delegation_" + "0" * 26):
        assert started(hall, name).json()["code"] == "not_found"
    for name in (7, "", ["delegation_1"], "x" * 65):
        assert started(hall, name).json()["code"] == "invalid_request"
    stranger = hall.visitor(hall.stage.person("sam@example.com"))
    assert stranger.call("GET", f"/v1/delegations/{one['id']}").status_code == 404
    assert stranger.get("/v1/delegations")["items"] == []
    taken = stranger.call("POST", f"/v1/delegations/{one['id']}/withdraw", {})
    assert taken.json()["code"] == "not_found"
    bot = hall.bot.call("POST", f"/v1/delegations/{one['id']}/withdraw", {})
    assert bot.json()["code"] == "wrong_door"
    both = "/v1/leases?on_behalf_of=me&owner=olivia@example.com"
    assert person(hall).call("GET", both).json()["code"] == "invalid_request"
    nosy = stranger.call("GET", "/v1/leases?on_behalf_of=pat@example.com")
    assert nosy.json()["code"] == "role_required"


@pytest.mark.parametrize(
    "body",
    [
        {"agent": "refund-bot", "scopes": [], "ttl": 60},
        {"agent": "refund-bot", "scopes": [READ], "ttl": 0},
        {"agent": "refund-bot", "scopes": [READ], "ttl": 43201},
        {"agent": "refund-bot", "scopes": [READ], "ttl": "60"},
        {"agent": "Refund Bot", "scopes": [READ], "ttl": 60},
        {"agent": "refund-bot", "scopes": [READ] * 65, "ttl": 60},
        {"agent": "refund-bot", "scopes": ["orders-db:*"], "ttl": 60},
        {"agent": "refund-bot", "scopes": [READ], "ttl": 60, "on_behalf_of": "otto@example.com"},
    ],
)
def test_a_delegation_that_makes_no_sense_is_refused(hall: Hall, body: object) -> None:
    """In nobody's name but one's own, and never for ever."""
    refused = person(hall).call("POST", "/v1/delegations", body)
    assert refused.status_code == 422, refused.text


def test_the_hash_of_one_offer_is_not_that_of_another(hall: Hall) -> None:
    """The login for half an hour does not give an hour, nor another scope."""
    body = {"agent": "refund-bot", "scopes": [READ_EU], "ttl": 1800}
    name = person(hall).call("POST", "/v1/delegations", body).json()["fresh_for"]
    fresh = hall.fresh(person(hall), name)
    for change in ({"ttl": 3600}, {"scopes": [READ]}, {"scopes": [READ_EU, READ]}):
        refused = fresh.call("POST", "/v1/delegations", {**body, **change})
        assert refused.json()["code"] == "fresh_login_required"
    assert fresh.call("POST", "/v1/delegations", body).status_code == 201
