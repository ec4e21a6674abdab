"""Provisioning over HTTP: a plan, agents made equal to files, and people's yes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.api.hall import SCOPE, Hall, Visitor
from tests.api.test_journeys import shaped
from valetkey.web.api import answers
from valetkey.web.api import provisioning_answers as ours

PLAN = "/v1/provisioning/plan"
PATH = "/v1/agents/refund-two"


def wanted(**changes: Any) -> dict[str, Any]:
    """What a file says, but for the changes."""
    file = {
        "name": "refund-two",
        "owner": "olivia@example.com",
        "team": "refunds",
        "labels": {"environment": "production"},
        "boundary": [SCOPE],
        "bindings": [{"issuer": "workloads", "claims": {"sub": "two"}}],
    }
    return {**file, **changes}


def plan(hall: Hall, file: dict[str, Any]) -> Any:
    """The plan for one file."""
    answer = hall.job.call("POST", PLAN, {"agents": [file]})
    assert answer.status_code == 200, answer.text
    return shaped(ours.AgentsPlan, answer.json())["agents"][0]


def put(visitor: Visitor, file: dict[str, Any], digest: str, query: str = "") -> Any:
    """The call that makes an agent equal to a file."""
    return visitor.call("PUT", PATH + query, file, If_Match=f'"{digest}"')


def accepted(hall: Hall) -> Any:
    """The agent, made and accepted, as its owner sees it."""
    assert hall.job.call("POST", "/v1/agents", wanted()).status_code == 201
    seen = hall.owner.get(PATH)
    answer = hall.owner.call("POST", f"{PATH}/accept", {}, If_Match=f'"{seen["digest"]}"')
    return shaped(answers.Agent, answer.json())


def test_what_widens_is_planned_proposed_and_accepted_by_its_owner(hall: Hall) -> None:
    """202 with the proposal; a login fresh for it; then there is nothing to do."""
    agent = accepted(hall)
    file = wanted(boundary=["orders-db:read"])
    found = plan(hall, file)
    assert [(x["what"], x["waits"]) for x in found["changes"]] == [("widen", True)]
    assert found["digest"] == agent["digest"]
    answer = put(hall.job, file, found["digest"])
    assert answer.status_code == 202, answer.text
    done = shaped(ours.Provisioned, answer.json())
    assert done["agent"]["boundary"] == [SCOPE]
    [listed] = shaped(ours.Proposals, hall.owner.get("/v1/proposals"))["items"]
    path = f"/v1/proposals/{done['proposal']}"
    seen = shaped(ours.Proposed, hall.owner.get(path))
    assert (listed, seen["was"], seen["boundary"]) == (seen, [SCOPE], ["orders-db:read"])
    body = {"shown_hash": seen["shown_hash"]}
    assert hall.owner.call("POST", f"{path}/accept", body).json()["code"] == "fresh_login_required"
    fresh = hall.fresh(hall.owner, seen["fresh_for"])
    yes = fresh.call("POST", f"{path}/accept", body)
    assert shaped(ours.Proposed, yes.json())["state"] == "accepted"
    after = hall.owner.get(path)
    assert (after["was"], after["boundary"]) == ([SCOPE], ["orders-db:read"])
    assert hall.owner.get(PATH)["boundary"] == ["orders-db:read"]
    assert plan(hall, file)["changes"] == []


def test_what_narrows_is_done_at_once_and_removed_only_with_prune(hall: Hall) -> None:
    """200, with the new digest; bindings go only with `prune=true`."""
    agent = accepted(hall)
    file = wanted(boundary=[], bindings=[])
    first = put(hall.job, file, agent["digest"])
    assert first.status_code == 200
    done = shaped(ours.Provisioned, first.json())["agent"]
    assert (done["boundary"], len(done["bindings"])) == ([], 1)
    second = put(hall.job, file, done["digest"], "?prune=true")
    assert second.json()["agent"]["bindings"] == []
    assert put(hall.job, file, done["digest"]).status_code == 412


def test_a_plan_tells_everything_that_stands_against_it(hall: Hall) -> None:
    """Each part with a code of the catalogue, and the call refuses the first."""
    agent = accepted(hall)
    bad = wanted(team="shop", boundary=["orders-db:drop"])
    told = plan(hall, bad)["problems"]
    assert [(x["part"], x["code"]) for x in told] == [
        ("team", "outside_trust_rule"),
        ("boundary", "outside_trust_rule"),
    ]
    refused = put(hall.job, bad, agent["digest"])
    assert (refused.status_code, refused.json()["code"]) == (403, "outside_trust_rule")
    twice = hall.job.call("POST", PLAN, {"agents": [wanted(), wanted()]})
    assert twice.json()["code"] == "invalid_request"


def test_a_refusal_is_told_to_every_later_run(hall: Hall) -> None:
    """The same proposal, refused; nothing new waits."""
    accepted(hall)
    file = wanted(boundary=["orders-db:read"])
    made = put(hall.job, file, plan(hall, file)["digest"]).json()["proposal"]
    no = hall.owner.call("POST", f"/v1/proposals/{made}/refuse", {})
    assert shaped(ours.Proposed, no.json())["state"] == "refused"
    found = plan(hall, file)
    assert (found["proposal"], found["refused"]) == (made, True)


def test_a_job_disables_an_agent_of_its_rule_and_only_as_it_knows_it(hall: Hall) -> None:
    """412 for one that has changed meanwhile."""
    agent = accepted(hall)
    path = f"{PATH}/disable"
    assert hall.job.call("POST", path, {}, If_Match=f'"{"0" * 64}"').status_code == 412
    ended = hall.job.call("POST", path, {}, If_Match=f'"{agent["digest"]}"')
    assert shaped(answers.Agent, ended.json())["state"] == "disabled"


def test_a_put_without_the_digest_it_knows_is_refused(hall: Hall) -> None:
    """Neither absent nor any, nor a person's to call; and the owner cannot plan."""
    accepted(hall)
    for headers in ({}, {"If_Match": "*"}, {"If_Match": "x"}):
        answer = hall.job.call("PUT", PATH, wanted(), **headers)
        assert answer.json()["code"] == "invalid_request"
    assert hall.owner.call("PUT", PATH, wanted()).json()["code"] == "wrong_door"
    assert hall.owner.call("POST", PLAN, {"agents": []}).json()["code"] == "wrong_door"


def test_of_two_jobs_at_once_one_changes_the_agent(live_hall: Hall) -> None:
    """On PostgreSQL: whoever comes second finds another agent than its plan did."""
    agent = accepted(live_hall)
    file = wanted(boundary=["orders-db:read"])
    with ThreadPoolExecutor(4) as jobs:
        racing = [
            jobs.submit(put, live_hall.job, {**file, "labels": labels}, agent["digest"])
            for labels in ({}, {"environment": "production"}, {}, {})
        ]
        statuses = sorted(one.result().status_code for one in racing)
    assert statuses[0] == 202
    assert set(statuses[1:]) <= {202, 412}
    listed = live_hall.owner.get("/v1/proposals")["items"]
    assert len([one for one in listed if one["state"] == "waiting"]) == 1
    assert listed[0]["current"]


def test_a_person_decides_on_postgres_as_in_memory(live_hall: Hall) -> None:
    """A binding comes by a yes and goes by pruning, with the rights of the application's role."""
    accepted(live_hall)
    two = {"issuer": "workloads", "claims": {"sub": "second"}}
    file = wanted(bindings=[two])
    found = plan(live_hall, file)
    assert [x["what"] for x in found["changes"]] == ["bind", "unbind"]
    done = put(live_hall.job, file, found["digest"], "?prune=true").json()
    assert done["agent"]["bindings"] == []
    path = f"/v1/proposals/{done['proposal']}"
    seen = live_hall.owner.get(path)
    fresh = live_hall.fresh(live_hall.owner, seen["fresh_for"])
    yes = fresh.call("POST", f"{path}/accept", {"shown_hash": seen["shown_hash"]})
    assert yes.status_code == 200, yes.text
    assert [x["claims"] for x in live_hall.owner.get(PATH)["bindings"]] == [{"sub": "second"}]
    assert plan(live_hall, file)["changes"] == []
