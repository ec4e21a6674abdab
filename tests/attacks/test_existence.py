"""Somebody who may not see a thing asks for it in every way, to learn whether it is there."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.api.hall import SCOPE, Hall, Visitor
from valetkey.core.ids import encode_id
from valetkey.core.kill import Height
from valetkey.flows.approve import deny
from valetkey.flows.kill import kill

NO_HASH = {"shown_hash": "0" * 64}


def strangers(hall: Hall) -> list[Visitor]:
    """Another key of the same agent, another agent, and a person in no role."""
    other = {**vars(hall.stage.bot), "agent_id": encode_id("agent", bytes(16))}
    agent = hall.visitor(type(hall.stage.bot)(**other))
    return [hall.visitor(hall.stage.bot), agent, hall.visitor(hall.stage.person("n@example.com"))]


def told(answer: Any) -> tuple[int, dict[str, object]]:
    """Status and body of a refusal."""
    return answer.status_code, answer.json()


def test_a_stranger_is_told_the_same_of_what_is_there_and_what_is_not(hall: Hall) -> None:
    """Tasks, leases and grants, waiting and decided: every verb answers as for an id of nothing."""
    task = hall.bot.start()["id"]
    lease = hall.bot.ask(task).json()["lease"]["id"]
    waits, decided = (
        hall.bot.ask(task, "orders-db:write{region=eu}").json()["grant"]["id"] for _ in range(2)
    )
    deny(hall.stage.broker, hall.stage.approver, decided)
    verbs: dict[str, list[tuple[str, str, object]]] = {
        "task": [("GET", "", None), ("GET", "/receipt", None), ("POST", "/end", {})],
        "grant": [
            ("GET", "", None),
            ("POST", "/collect", {}),
            ("POST", "/withdraw", {}),
            ("POST", "/approve", NO_HASH),
            ("POST", "/deny", {}),
        ],
        "lease": [("GET", "", None), ("GET", "/lineage", None), ("POST", "/revoke", {})],
    }
    key_of_bot = strangers(hall)[0]
    for stranger in strangers(hall):
        for there in (task, lease, waits, decided):
            kind = there.partition("_")[0]
            nothing = encode_id(kind, secrets.token_bytes(16))
            for method, verb, body in verbs[kind]:
                if stranger.caller.agent_id == key_of_bot.caller.agent_id and (
                    kind == "lease" or verb == ""
                ):
                    continue  # another key of the same agent may look at these
                paths = [f"/v1/{kind}s/{x}{verb}" for x in (there, nothing)]
                one, other = (told(stranger.call(method, path, body)) for path in paths)
                assert one == other, (stranger.caller.kind, there, verb)


def test_an_ask_for_anothers_task_is_as_for_none(hall: Hall) -> None:
    """Also `explain`, and with the header that ends a lease."""
    task = hall.bot.start()["id"]
    lease = hall.bot.ask(task, key="k").json()["lease"]["id"]
    nothing = encode_id("task", secrets.token_bytes(16))
    for stranger in strangers(hall)[:2]:
        for more in ({}, {"Redeliver": lease}):
            answers = [told(stranger.ask(x, key="k", **more)) for x in (task, nothing)]
            assert answers[0] == answers[1]
        asks = ({"task": x, "scope": SCOPE, "ttl": 60} for x in (task, nothing))
        bodies = [told(stranger.call("POST", "/v1/credentials/explain", x)) for x in asks]
        assert bodies[0] == bodies[1]
    assert hall.bot.get(f"/v1/leases/{lease}")["state"] == "active"


@pytest.mark.parametrize("verb", ["", "/release"])
def test_who_is_no_operator_learns_of_no_kill(hall: Hall, verb: str) -> None:
    """The role is asked for before the kill is looked for."""
    ordered = kill(hall.stage.broker, hall.stage.operator, Height.TARGET, "orders-db", "drill")
    nothing = encode_id("kill", secrets.token_bytes(16))
    method = "POST" if verb else "GET"
    for person in (hall.owner, hall.approver):
        paths = [f"/v1/kill/{x}{verb}" for x in (ordered.id, nothing)]
        one, other = (told(person.call(method, path)) for path in paths)
        assert one == other
