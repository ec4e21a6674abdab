"""An agent acts by a person's own token: exchanged, used for that person alone, taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.api.hall import FOR_AGENTS, US, Hall, Visitor
from tests.identity.place import EXCHANGE, ID_TOKEN
from valetkey.core.facts import FactKind
from valetkey.core.principal import Principal

READ, READ_EU = "orders-db:read", "orders-db:read{region=eu}"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


def pat(hall: Hall) -> Visitor:
    """Pat, as the issuer of people knows them."""
    principal = Principal(hall.issuers["people"].url, "pat")
    return hall.visitor(replace(hall.stage.pat, principal=principal))


def passed_on(hall: Hall, **claims: object) -> str:
    """Pat's token for agents."""
    about: dict[str, object] = {"sub": "pat", "aud": FOR_AGENTS, "email": "pat@example.com"}
    now = hall.stage.broker.store.now().timestamp()
    return hall.issuers["people"].sign(now, {**about, "email_verified": True, **claims})


def exchanged(hall: Hall, subject: str, **changes: str) -> Any:
    """The answer to the bot's exchange of Pat's token, by a token of its own."""
    form = {"grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": ID_TOKEN}
    form |= {"actor_token": hall.bot.token, "actor_token_type": ACCESS, **changes}
    return hall.exchange(form, hall.bot.key)


def acting(hall: Hall, subject: str) -> Visitor:
    """The bot with a token that acts for Pat."""
    answer = exchanged(hall, subject)
    assert answer.status_code == 200, answer.text
    assert answer.json()["issued_token_type"] == ACCESS
    assert "refresh_token" not in answer.json()
    visitor = hall.visitor(hall.stage.bot)
    visitor.key, visitor.token = hall.bot.key, answer.json()["access_token"]
    return visitor


def plan(**more: object) -> dict[str, object]:
    """A task for an hour."""
    return {"purpose": "for pat", "scopes": [READ_EU], "ttl": 3600, **more}


@pytest.mark.parametrize("kind", ["hall", "live_hall"])
def test_the_persons_own_token_lets_the_agent_it_names_act(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """On memory and PostgreSQL: the task ends with that token, and when the person says stop."""
    hall: Hall = request.getfixturevalue(kind)
    may_act = {"iss": US, "sub": hall.stage.agent.id}
    bot = acting(hall, passed_on(hall, may_act=may_act))
    task = bot.call("POST", "/v1/tasks", plan()).json()
    principal = f"{hall.issuers['people'].url} pat"
    assert task["on_behalf_of"] == principal
    (seen,) = pat(hall).get("/v1/delegations")["items"]
    assert (seen["source"], seen["until"], seen["scopes"]) == (
        "may_act",
        task["deadline_at"],
        [READ_EU],
    )
    given = bot.ask(task["id"]).json()["lease"]["id"]
    assert bot.ask(hall.bot.start()["id"]).json()["code"] == "outside_token"
    pat(hall).call("POST", f"/v1/delegations/{seen['id']}/withdraw", {})
    assert pat(hall).get(f"/v1/leases/{given}")["proof"] == "verified"
    assert bot.call("POST", "/v1/tasks", plan()).json()["code"] == "delegation_ended"


def test_a_word_given_here_lets_it_act_too(hall: Hall) -> None:
    """Without it, and without `may_act`, the exchange is refused as RFC 8693 wants it."""
    refused = exchanged(hall, passed_on(hall))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert refused.json()["code"] == "delegation_refused"
    body = {"agent": "refund-bot", "scopes": [READ], "ttl": 600}
    name = pat(hall).call("POST", "/v1/delegations", body).json()["fresh_for"]
    one = hall.fresh(pat(hall), name).call("POST", "/v1/delegations", body).json()
    bot = acting(hall, passed_on(hall))
    task = bot.call("POST", "/v1/tasks", plan()).json()
    assert (task["delegation"], task["deadline_at"]) == (one["id"], one["until"])
    wider = bot.call("POST", "/v1/tasks", plan(scopes=["orders-db:write"]))
    assert wider.json()["code"] == "outside_delegation"


def test_such_a_token_opens_no_door_of_people(hall: Hall) -> None:
    """Nothing that a person may do is done by it, least of all letting others act."""
    hall.stage.pat = replace(hall.stage.pat, roles=frozenset({"operator"}))
    bot = acting(hall, passed_on(hall, may_act={"iss": US, "sub": hall.stage.agent.id}))
    body = {"agent": "refund-bot", "scopes": [READ], "ttl": 600}
    for method, path, sent in (
        ("POST", "/v1/delegations", body),
        ("GET", "/v1/history", None),
        ("POST", "/v1/kill", {"height": "everything", "reason": "x"}),
        ("GET", "/v1/proposals", None),
    ):
        assert bot.call(method, path, sent).json()["code"] == "wrong_door"
    again = exchanged(hall, passed_on(hall, jti="2"), actor_token=bot.token)
    assert again.json()["error"] == "invalid_request"


def test_the_history_says_for_whom_a_token_was_given(hall: Hall) -> None:
    """In the fact of a refused task too, through its caller."""
    bot = acting(hall, passed_on(hall, may_act={"iss": US, "sub": hall.stage.agent.id}))
    assert bot.call("POST", "/v1/tasks", plan()).status_code == 201
    (started,) = (x.fact for x in hall.facts() if x.fact.kind is FactKind.TASK_STARTED)
    assert started.body["on_behalf_of"] == f"{hall.issuers['people'].url} pat"
