"""The kill switch over HTTP: every height, drills, progress, and when everything else is down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.api.hall import SCOPE, Hall
from tests.api.test_journeys import shaped
from valetkey.core.errors import MinterUnavailable, NotReady
from valetkey.ports import RuleSet
from valetkey.web.api import answers

SUBJECTS = {
    "agent": "refund-bot",
    "owner": "olivia@example.com",
    "vendor": "acme",
    "issuer": "cluster",
    "scope": "orders-db:read",
    "target": "orders-db",
    "everything": "",
}


def order(hall: Hall, height: str, **more: object) -> Any:
    """The answer to a kill, or a drill of one."""
    body = {"height": height, "subject": SUBJECTS[height], "reason": "odd", **more}
    return hall.operator.call("POST", "/v1/kill", body)


@pytest.mark.parametrize("height", SUBJECTS)
def test_a_kill_at_every_height_ends_what_is_out_and_refuses_more(hall: Hall, height: str) -> None:
    """202 with the proof that it is over; the next ask is refused, whoever asks."""
    task = hall.bot.start()["id"]
    assert hall.bot.ask(task).status_code == 201
    ordered = order(hall, height)
    assert ordered.status_code == 202, ordered.text
    kill = shaped(answers.Kill, ordered.json())
    assert (kill["unended"], kill["ended"], kill["states"]) == (0, 1, {})
    assert kill["last_proof_at"]
    assert kill["seconds_to_last_proof"] >= 0
    assert kill["expected_seconds"] == 0
    refused = hall.bot.ask(task)
    assert (refused.status_code, refused.json()["code"]) == (403, "killed")
    assert hall.stage.minter.alive == {}


@pytest.mark.parametrize("height", SUBJECTS)
def test_a_drill_at_every_height_stops_nothing(hall: Hall, height: str) -> None:
    """200 with what would end; afterwards everything goes on as before."""
    task = hall.bot.start()["id"]
    lease = hall.bot.ask(task).json()["lease"]
    answer = order(hall, height, drill=True)
    assert answer.status_code == 200, answer.text
    drill = shaped(answers.Drill, answer.json())
    assert (drill["would_end"], drill["targets"]) == (1, {"orders-db": 1})
    assert (drill["expected_seconds"], drill["based_on_ends"]) == (None, 0)
    assert hall.bot.get(f"/v1/leases/{lease['id']}")["state"] == "active"
    assert hall.bot.ask(task).status_code == 201
    (fact,) = hall.facts(kind="KillDrilled")
    assert fact.fact.body["would_end"] == 1
    assert hall.facts(kind="KillOrdered") == []


def test_a_drill_learns_from_ends_and_names_what_cannot_be_cut(hall: Hall) -> None:
    """An estimate once something has ended; never shorter than what only expires."""
    task = hall.bot.start()["id"]
    lease = hall.bot.ask(task).json()["lease"]
    hall.bot.call("POST", f"/v1/leases/{lease['id']}/revoke")
    hall.stage.pass_time(hall.stage.broker.patience.claim)
    order(hall, "target")
    told = order(hall, "everything", drill=True).json()
    assert (told["would_end"], told["expected_seconds"]) == (0, 0)
    with hall.stage.broker.store.transaction() as tx:
        (ordered,) = tx.kills_in_force()
        tx.save_kill(replace(ordered, released_at=tx.now(), released_by="other"))
    hall.stage.minter.cuttable = False
    assert hall.bot.ask(task).status_code == 201
    told = order(hall, "everything", drill=True).json()
    assert told["cannot_be_cut"][0]["still_valid_until"] == told["cannot_be_cut_until"]
    assert told["expected_seconds"] >= 300


@pytest.mark.parametrize("height", SUBJECTS)
def test_one_request_kills_while_rules_and_back_ends_are_down(hall: Hall, height: str) -> None:
    """202, nothing new at all, and the way out is taken; the end comes with the back end."""
    task = hall.bot.start()["id"]
    lease = hall.bot.ask(task).json()["lease"]

    def gone() -> RuleSet:
        raise NotReady()

    object.__setattr__(hall.stage.broker, "rules", gone)
    hall.stage.minter.fail_end = [MinterUnavailable() for _ in range(50)]
    ordered = order(hall, height)
    assert ordered.status_code == 202, ordered.text
    kill = shaped(answers.Kill, ordered.json())
    assert (kill["unended"], kill["states"]) == (1, {"ending": 1})
    assert kill["last_proof_at"] is None
    assert hall.operator.get(f"/v1/leases/{lease['id']}")["reason"] == "killed"


@pytest.mark.parametrize(
    ("height", "subject"),
    [
        ("owner", "olivia"),
        ("vendor", "ac me"),
        ("scope", "orders-db"),
        ("scope", "orders-db:read{"),
        ("scope", "orders-db:read{region}"),
        ("issuer", ""),
        ("target", SCOPE),
    ],
)
def test_a_subject_not_of_its_form_is_422(hall: Hall, height: str, subject: str) -> None:
    """Each height has its own, and nothing stops."""
    body = {"height": height, "subject": subject, "reason": "odd"}
    answer = hall.operator.call("POST", "/v1/kill", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in {"invalid_request", "invalid_parameter"}
    assert len(hall.refusals()) == 1


@pytest.mark.parametrize("height", [name for name in SUBJECTS if name != "everything"])
def test_a_subject_nobody_knows_is_404(hall: Hall, height: str) -> None:
    """A typing error never looks like a kill that worked, and not like a drill either."""
    unknown = {"owner": "olga@example.com", "scope": "orders-db:eat"}.get(height, "nobody")
    for drill in (False, True):
        body = {"height": height, "subject": unknown, "reason": "odd", "drill": drill}
        assert hall.operator.call("POST", "/v1/kill", body).json()["code"] == "not_found"


def test_the_kills_in_force_are_listed_newest_first(hall: Hall) -> None:
    """Released ones are not; whoever may not see a kill sees no list."""
    first = order(hall, "target").json()["id"]
    hall.stage.pass_time(timedelta(seconds=1))
    second = order(hall, "everything").json()["id"]
    listed = shaped(answers.Kills, hall.operator.get("/v1/kill"))["items"]
    assert [x["id"] for x in listed] == [second, first]
    with hall.stage.broker.store.transaction() as tx:
        released = tx.kill(second)
        assert released is not None
        tx.save_kill(replace(released, released_at=tx.now(), released_by="other"))
    assert [x["id"] for x in hall.operator.get("/v1/kill")["items"]] == [first]
    assert hall.owner.call("GET", "/v1/kill").json()["code"] == "role_required"
