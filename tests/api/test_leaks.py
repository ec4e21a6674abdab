"""`POST /v1/leaks`: one answer for everybody and everything, and the value nowhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tests.api.hall import Hall, Visitor
from valetkey.bootstrap.house import MonotonicClock
from valetkey.core.lease import LeaseState
from valetkey.store.sql_store import SqlStore
from valetkey.web.api import answers

LEAKS = "/v1/leaks"
CANARY = "canary-5bd1-value"


@pytest.fixture
def live(sql_store: SqlStore) -> Iterator[Hall]:
    """A hall on PostgreSQL whose fingerprints tell values apart."""
    with ExitStack() as resources:
        made = Hall(resources, sql_store)
        broker = replace(made.stage.broker, fingerprint=lambda part: f"print-{hash(part)}")
        made.stage.broker = broker
        made.app.state.desk = replace(made.app.state.desk, broker=broker)
        yield made


def leaked(hall: Hall) -> tuple[str, str]:
    """A lease's id and its secret part, as its agent got them."""
    issued = hall.bot.ask(hall.bot.start()["id"]).json()
    return issued["lease"]["id"], issued["credential"]["value"]


def report(who: Visitor, value: str) -> Any:
    """Report a value."""
    answer = who.call("POST", LEAKS, {"value": value})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_everybody_may_report_and_hears_the_same(live: Hall) -> None:
    """Agent, CI job and owner, known value and unknown: the same bytes; the lease is ended."""
    lease, value = leaked(live)
    for who in (live.bot, live.job, live.owner, live.approver):
        for told in ("x" * 24, value):
            assert report(who, told) == {"status": "reported"}
    with live.stage.broker.store.transaction() as tx:
        found = tx.lease(lease)
    assert found is not None and found.state is LeaseState.ENDED
    assert found.end_reason == "leaked"
    outcomes = [entry.fact.outcome for entry in live.facts(kind="LeakReported")]
    assert outcomes == ["unknown", "known"] * 4


def test_an_operator_hears_where_it_is_from(live: Hall) -> None:
    """The lineage in one call, found through a connection URL too; nothing for a strange value."""
    lease, value = leaked(live)
    told = report(live.operator, f"postgresql://someone:{value}@orders.internal/orders\n")
    (found,) = answers.Leak.model_validate(told).found or ()
    assert found.lease.id == lease and found.agent is not None
    assert found.agent.name == "refund-bot"
    assert report(live.operator, "nothing of ours") == {"status": "reported", "found": []}


def test_the_owner_finds_the_report_in_history(live: Hall) -> None:
    """A known leak is the owner's fact; an unknown one is nobody's."""
    _, value = leaked(live)
    report(live.bot, value)
    report(live.bot, "nothing of ours")
    (fact,) = live.owner.get("/v1/history?kind=LeakReported")["items"]
    assert (fact["kind"], fact["outcome"]) == ("LeakReported", "known")


def test_known_and_unknown_take_the_same_time(live: Hall) -> None:
    """On the real database both end within the same step; the work itself is far below it."""
    live.stage.broker = replace(live.stage.broker, clock=MonotonicClock())
    live.app.state.desk = replace(live.app.state.desk, broker=live.stage.broker)
    spent: dict[bool, list[float]] = {True: [], False: []}
    for number in range(6):
        _, value = leaked(live)
        known = number % 2 == 0
        began = time.perf_counter()
        report(live.bot, value if known else CANARY)
        spent[known].append(time.perf_counter() - began)
    assert min(*spent[True], *spent[False]) >= 0.25
    assert abs(min(spent[True]) - min(spent[False])) < 0.05


def test_the_value_is_nowhere(live: Hall, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in answers good and bad, nor in facts, alarms or logs."""
    caplog.set_level("DEBUG")
    lease, value = leaked(live)
    told = [live.operator.call("POST", LEAKS, {"value": text}).text for text in (value, CANARY)]
    bad: list[object] = [
        {"value": CANARY, "more": CANARY},
        {"value": [CANARY]},
        {"value": CANARY * 2000},
        {CANARY: "value"},
        [CANARY],
        f'{{"value": "{CANARY}\x00"}}'.encode(),
        CANARY.encode(),
    ]
    for body in bad:
        answer = live.bot.call("POST", LEAKS, body)
        assert answer.status_code == 422, body
        told.append(answer.text)
    told += [json.dumps([str(entry) for entry in live.facts()]), caplog.text]
    told += [str(vars(live.stage.alarms)), live.client.get("/metrics").text]
    for text in told:
        assert CANARY not in text and value not in text
    assert lease in told[0]
    assert live.refusals() == ["invalid_request"] * len(bad)


def test_a_report_needs_a_known_caller(live: Hall) -> None:
    """Strangers are 401, and nothing is looked up for them."""
    assert live.client.post(LEAKS, json={"value": CANARY}).status_code == 401
    assert live.facts(kind="LeakReported") == []
