"""Limits at the door: who is too fast is told when to come again, and nobody else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.api.hall import Hall
from tests.api.test_oauth import ID_TOKEN, form, job, login, now
from tests.api.test_real_database import at_once
from tests.faults.rows import row
from valetkey.core.admission import Ceilings, Rate
from valetkey.flows.tell_exchange import tell_exchange
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore
from valetkey.web.api import answers

RATE = Rate(1, 4)


def limited(resources: ExitStack, store: Store | None = None) -> Hall:
    """A hall where four requests may come at once, and a task may have two leases."""
    made = Hall(resources, store)
    limits = replace(made.stage.broker.limits, rate=RATE, ceilings=Ceilings(task=2))
    broker = replace(made.stage.broker, limits=limits)
    made.stage.broker = broker
    made.app.state.desk = replace(made.app.state.desk, broker=broker)
    return made


@pytest.fixture
def hall() -> Iterator[Hall]:
    """A limited hall in memory: its clock stands still."""
    with ExitStack() as resources:
        yield limited(resources)


@pytest.fixture
def live(sql_store: SqlStore) -> Iterator[Hall]:
    """A limited hall on PostgreSQL."""
    with ExitStack() as resources:
        yield limited(resources, sql_store)


def unhurried(hall: Hall) -> None:
    """Nobody is too fast in this hall any more."""
    limits = replace(hall.stage.broker.limits, rate=None)
    hall.stage.broker = replace(hall.stage.broker, limits=limits)
    hall.app.state.desk = replace(hall.app.state.desk, broker=hall.stage.broker)


def start(hall: Hall) -> Any:
    """Try to start a task."""
    body = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600}
    return hall.bot.call("POST", "/v1/tasks", body)


def test_one_that_asks_too_fast_is_told_when_to_come_again(hall: Hall) -> None:
    """429 with code, limit and wait, one fact; and after the wait it is let in."""
    assert [start(hall).status_code for _ in range(5)] == [201] * 4 + [429]
    refused = start(hall)
    problem = refused.json()
    answers.Problem.model_validate(problem)
    assert (problem["code"], problem["limit"]) == ("rate_limited", "rate")
    assert problem["retry_after"] == 1.0
    assert refused.headers["Retry-After"] == "1"
    assert hall.refusals() == ["rate_limited"] * 2
    facts = [entry.fact.body for entry in hall.facts(outcome="rate_limited")]
    assert facts == [{"about": "POST /v1/tasks", "limit": "rate"}] * 2
    hall.stage.pass_time(timedelta(seconds=1))
    assert start(hall).status_code == 201


def test_ending_is_never_held_up(hall: Hall) -> None:
    """One that is too fast to ask may still look, end and revoke."""
    task = start(hall).json()["id"]
    while start(hall).status_code == 201:
        pass
    for _ in range(10):
        assert hall.bot.call("GET", f"/v1/tasks/{task}").status_code == 200
    assert hall.bot.call("POST", f"/v1/tasks/{task}/end").status_code == 200


def test_a_stranger_takes_nothing_from_a_client(hall: Hall) -> None:
    """Fifty requests under the client's name with a key that is not its own leave it all it had."""
    thief = ECKey.generate_key("P-256")
    for _ in range(50):
        token, key = hall.bot.token, hall.bot.key
        hall.bot.key = thief
        assert start(hall).status_code == 401
        hall.bot.key = key
        assert hall.bot.token == token
    assert [start(hall).status_code for _ in range(4)] == [201] * 4


def test_beyond_a_ceiling_is_429_with_one_fact(live: Hall) -> None:
    """Which ceiling, when to come again, nothing minted, on the real database."""
    unhurried(live)
    task = live.bot.start()["id"]
    assert [live.bot.ask(task).status_code for _ in range(3)] == [201, 201, 429]
    problem = live.bot.ask(task).json()
    assert (problem["code"], problem["limit"]) == ("rate_limited", "task")
    assert len(live.stage.minter.secrets_made) == 2
    assert live.refusals() == ["rate_limited"] * 2
    assert len(live.facts(kind="LeaseWritten")) == 2


@row("F45")
def test_a_ceiling_holds_when_twelve_ask_at_once(live: Hall) -> None:
    """Two credentials, ten refusals with a fact each, and no third lease that was ever written."""
    unhurried(live)
    task = live.bot.start()["id"]
    answered = at_once(12, lambda: live.bot.ask(task).status_code)
    assert sorted(answered) == [201] * 2 + [429] * 10
    assert len(live.stage.minter.secrets_made) == 2
    assert live.refusals() == ["rate_limited"] * 10
    assert len(live.facts(kind="LeaseWritten")) == len(live.facts(kind="AskAllowed")) == 2


def test_a_real_database_holds_a_client_to_its_rate(live: Hall) -> None:
    """Five requests within a second: one is too fast, or more."""
    answered = [start(live).status_code for _ in range(5)]
    assert answered[:4] == [201] * 4 and answered[4] in {201, 429}
    assert 429 in [start(live).status_code for _ in range(8)]


def telling(hall: Hall, told: list[str]) -> None:
    """Have this hall tell of its tokens as a real installation does."""

    def tell(given: Any) -> None:
        told.append(given.issuer)
        tell_exchange(hall.stage.broker, given.caller, given.issuer, given.unaccounted)

    hall.authenticator._behind = replace(hall.authenticator._behind, told=tell)


def test_one_issuers_tokens_have_a_rate_and_anothers_have_their_own(hall: Hall) -> None:
    """Two at once for all people together; jobs are not held up, and time brings the next."""
    limits = replace(hall.stage.broker.limits, rate=None, issuer_rates={"people": Rate(1, 2)})
    hall.stage.broker = replace(hall.stage.broker, limits=limits)
    telling(hall, [])

    def person(name: str) -> Any:
        proof = hall.issuers["people"].sign(now(hall), {"sub": name, "aud": "valetkey-cli"})
        return hall.exchange(form(proof, ID_TOKEN), ECKey.generate_key("P-256"))

    answered = [person(name) for name in ("ann", "ben", "cy")]
    assert [answer.status_code for answer in answered] == [200, 200, 429]
    assert answered[-1].json()["code"] == "rate_limited"
    (fact,) = hall.facts(outcome="rate_limited")
    assert fact.fact.body == {"about": "POST /oauth2/token", "limit": "issuer"}
    assert hall.exchange(form(job(hall)), ECKey.generate_key("P-256")).status_code == 200
    hall.stage.pass_time(timedelta(seconds=1))
    assert person("cy").status_code == 200


def test_tokens_are_asked_for_at_a_rate_too(hall: Hall) -> None:
    """The fifth exchange at once of a proven workload: 429 in the words of RFC 6749, one fact."""
    told: list[str] = []
    telling(hall, told)
    answered = []
    for _ in range(5):
        sent = form(login(hall), ID_TOKEN)
        answered.append(hall.exchange(sent, ECKey.generate_key("P-256")))
    assert [answer.status_code for answer in answered] == [200] * 4 + [429], answered[0].text
    refusal = answered[-1].json()
    assert (refusal["error"], refusal["code"]) == ("temporarily_unavailable", "rate_limited")
    assert answered[-1].headers["Retry-After"] == "1"
    assert len(told) == 5
    assert len(hall.facts(kind="TokenExchanged")) == 4
    assert hall.refusals() == ["rate_limited"]
