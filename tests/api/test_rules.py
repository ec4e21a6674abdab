"""Rules over HTTP: a plan, a push, an operator's yes, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.api.hall import Hall
from tests.api.test_journeys import shaped
from tests.flows.rules import AT_ONCE, OTHERS, PUSHES, SAMPLE, SHORTER, RulesStage, with_text
from valetkey.core.facts import FactKind
from valetkey.core.rules import MOST_BYTES
from valetkey.web.api import rules_answers as ours

RULES, PLAN = "/v1/rules", "/v1/rules/plan"


@pytest.fixture
def rules_hall() -> Iterator[Hall]:
    """An installation whose rules are in its store, and a job that pushes them."""
    with ExitStack() as stack:
        yield Hall(stack, stage=RulesStage(), rule=PUSHES)


def plan(hall: Hall, files: dict[str, str]) -> Any:
    """The plan for these files."""
    answer = hall.job.call("POST", PLAN, {"files": files})
    assert answer.status_code == 200, answer.text
    return shaped(ours.RulesPlanned, answer.json())


def put(hall: Hall, files: dict[str, str], digest: str) -> Any:
    """The call that makes the rules equal to these files."""
    return hall.job.call("PUT", RULES, {"files": files}, If_Match=f'"{digest}"')


def seen(hall: Hall) -> Any:
    """What an operator sees."""
    return shaped(ours.RulesList, hall.operator.get(RULES))


def test_rules_are_planned_pushed_accepted_and_gone_back_on(rules_hall: Hall) -> None:
    """Each person's step with a login for it, which the answers name."""
    hall = rules_hall
    found = plan(hall, SHORTER)
    assert found["changes"] == [{"what": "changed", "part": "scope orders-db:read"}]
    assert (found["waits"], found["unproven"], found["proposal"]) == (True, [], None)
    answer = put(hall, SHORTER, found["digest"])
    assert answer.status_code == 202, answer.text
    pushed = shaped(ours.RulesPushed, answer.json())
    assert (pushed["version"], pushed["activation"]) == (found["version"], None)
    [waiting] = seen(hall)["proposals"]
    assert (waiting["id"], waiting["state"], waiting["current"]) == (
        pushed["proposal"],
        "waiting",
        True,
    )
    body, path = {"shown_hash": waiting["shown_hash"]}, f"{RULES}/proposals/{waiting['id']}"
    stale = hall.operator.call("POST", f"{path}/accept", body)
    assert stale.json()["code"] == "fresh_login_required"
    assert stale.json()["fresh_for"] == waiting["fresh_for"]
    fresh = hall.fresh(hall.operator, waiting["fresh_for"])
    made = shaped(ours.RulesActivation, fresh.call("POST", f"{path}/accept", body).json())
    assert (made["number"], made["cause"], made["version"]) == (2, "accepted", found["version"])
    now = seen(hall)
    assert (now["version"], [x["number"] for x in now["activations"]]) == (made["version"], [2, 1])
    first = f"{RULES}/versions/{found['digest']}"
    shown = shaped(ours.RulesVersionShown, hall.operator.get(first))
    assert shown["files"] == SAMPLE
    back = {"reason": "it was wrong"}
    assert hall.operator.call("POST", f"{first}/activate", back).status_code == 401
    fresh = hall.fresh(hall.operator, shown["fresh_for"])
    gone = shaped(ours.RulesActivation, fresh.call("POST", f"{first}/activate", back).json())
    assert (gone["cause"], gone["reason"], gone["number"]) == ("rolled_back", "it was wrong", 3)
    assert hall.operator.get(first)["fresh_for"] is None


def test_a_push_is_held_to_what_its_plan_saw(rules_hall: Hall) -> None:
    """412 for another digest, 422 without one, 200 with nothing to do for the same."""
    hall = rules_hall
    digest = plan(hall, SHORTER)["digest"]
    assert put(hall, SHORTER, "0" * 64).status_code == 412
    missing = hall.job.call("PUT", RULES, {"files": SHORTER})
    assert (missing.status_code, missing.json()["code"]) == (422, "invalid_request")
    same = put(hall, SAMPLE, digest)
    assert (same.status_code, same.json()["activation"], same.json()["proposal"]) == (
        200,
        None,
        None,
    )
    assert len(seen(hall)["activations"]) == 1


def test_every_fault_is_told_with_file_and_line(rules_hall: Hall) -> None:
    """And nothing of the texts stands in what goes on record."""
    hall = rules_hall
    secret = "swordfish"
    bad = with_text("catalogue/orders-db.yaml", "mutates: false", f"mutates: {secret}")
    answer = hall.job.call("POST", PLAN, {"files": bad})
    assert (answer.status_code, answer.json()["code"]) == (422, "rules_invalid")
    [fault] = answer.json()["problems"]
    assert fault["file"] == "catalogue/orders-db.yaml"
    assert fault["line"] == 15
    assert all(secret not in str(one.fact) for one in hall.facts())
    assert "rules_invalid" in hall.refusals()


def test_files_may_be_large_and_no_larger(rules_hall: Hall) -> None:
    """More than other bodies, up to a bound of our own and then of the server's."""
    hall = rules_hall
    note = "# " + "x" * 97 + "\n"
    large = {**SAMPLE, "catalogue/orders-db.yaml": SAMPLE["catalogue/orders-db.yaml"] + note * 2000}
    found = plan(hall, large)
    assert found["changes"] == []
    assert found["version"] != found["digest"]
    over = {"catalogue/a.yaml": "x" * (MOST_BYTES + 1)}
    assert hall.job.call("POST", PLAN, {"files": over}).status_code == 422
    both = {"catalogue/a.yaml": "x" * MOST_BYTES, "catalogue/b.yaml": "x"}
    assert hall.job.call("POST", PLAN, {"files": both}).status_code == 422
    assert hall.job.call("POST", PLAN, b"x" * (1024 * 1024 + 1)).status_code == 413
    assert hall.job.call("POST", "/v1/provisioning/plan", b"x" * 70_000).status_code == 413


def test_only_its_own_callers_come_in(rules_hall: Hall) -> None:
    """Jobs push, operators decide, agents see nothing of it."""
    hall = rules_hall
    body = {"files": SHORTER}
    for visitor in (hall.operator, hall.bot):
        assert visitor.call("POST", PLAN, body).json()["code"] == "wrong_door"
        assert visitor.call("PUT", RULES, body).json()["code"] == "wrong_door"
    assert hall.bot.call("GET", RULES).json()["code"] == "wrong_door"
    assert hall.owner.call("GET", RULES).json()["code"] == "role_required"
    assert hall.job.call("GET", RULES).status_code == 200
    version = f"{RULES}/versions/{seen(hall)['version']}"
    assert hall.job.call("GET", version).json()["code"] == "wrong_door"
    assert hall.operator.call("GET", f"{RULES}/versions/latest").status_code == 404


def test_a_job_of_a_rule_for_agents_pushes_no_rules() -> None:
    """403, whatever it brings, and it is on record."""
    with ExitStack() as stack:
        hall = Hall(stack, stage=RulesStage())
        answer = hall.job.call("PUT", RULES, {"files": SHORTER}, If_Match=f'"{"0" * 64}"')
        assert (answer.status_code, answer.json()["code"]) == (403, "outside_trust_rule")
        assert hall.job.call("GET", RULES).json()["code"] == "role_required"
        assert hall.refusals() == ["outside_trust_rule", "role_required"]


def test_a_rule_may_need_nobody() -> None:
    """200 with the activation; the fact names the job, its version and what changed."""
    with ExitStack() as stack:
        hall = Hall(stack, stage=RulesStage(), rule=AT_ONCE)
        found = plan(hall, OTHERS)
        assert not found["waits"]
        answer = put(hall, OTHERS, found["digest"])
        assert answer.status_code == 200, answer.text
        assert shaped(ours.RulesPushed, answer.json())["activation"]["cause"] == "applied"
        told = [x.fact for x in hall.facts() if x.fact.kind is FactKind.RULES_ACTIVATED][-1]
        assert told.by == str(hall.job.caller.principal)
        assert told.body["version"] == found["version"]


def test_where_rules_are_files_every_route_says_so(hall: Hall) -> None:
    """409, with what to do instead; whoever asks."""
    for method, path in (("GET", RULES), ("GET", f"{RULES}/versions/{'0' * 64}")):
        answer = hall.operator.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (409, "rules_from_files")
