"""What only a real PostgreSQL shows: the same journeys, concurrency, and what it cannot store."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

from tests.api.hall import SCOPE, Hall
from valetkey.core.facts import FactKind
from valetkey.store.sql_store import SqlStore
from valetkey.web.api import answers

WRITE = "orders-db:write{region=eu}"


def test_a_whole_journey_on_a_real_database(live_hall: Hall) -> None:
    """Ask, approve, collect, look, end: every answer has its documented shape."""
    hall = live_hall
    task = hall.bot.start()["id"]
    issued = answers.Issued.model_validate(hall.bot.ask(task).json())
    grant = hall.bot.ask(task, WRITE).json()["grant"]
    fresh = hall.fresh(hall.approver, grant["fresh_for"])
    path = f"/v1/grants/{grant['id']}"
    approved = fresh.call("POST", f"{path}/approve", {"shown_hash": grant["shown_hash"]})
    answers.Grant.model_validate(approved.json())
    assert hall.bot.call("POST", f"{path}/collect").status_code == 201
    answers.Lineage.model_validate(hall.owner.get(f"/v1/leases/{issued.lease.id}/lineage"))
    receipt = hall.bot.call("POST", f"/v1/tasks/{task}/end")
    assert receipt.status_code == 200, receipt.text
    assert len(answers.Receipt.model_validate(receipt.json()).leases) == 2
    found = answers.History.model_validate(hall.operator.get("/v1/history?limit=3"))
    assert found.next is not None
    answers.Agents.model_validate(hall.operator.get("/v1/agents"))
    answers.Catalogue.model_validate(hall.bot.get("/v1/catalogue"))


def test_one_proof_sent_twenty_times_at_once_is_accepted_once(live_hall: Hall) -> None:
    """The replay check holds in the database, not in the process."""
    headers = live_hall.bot.headers("GET", "/v1/tasks")
    statuses = at_once(20, lambda: live_hall.client.get("/v1/tasks", headers=headers).status_code)
    assert sorted(statuses) == [200] + [401] * 19


def test_one_key_sent_ten_times_at_once_mints_once(live_hall: Hall) -> None:
    """One credential; everybody else hears that it is being worked on, with the lease's id."""
    task = live_hall.bot.start()["id"]
    found = at_once(10, lambda: live_hall.bot.ask(task, key="the-one"))
    assert sorted(answer.status_code for answer in found) == [201] + [409] * 9
    codes = {answer.json()["code"] for answer in found if answer.status_code == 409}
    assert codes == {"in_progress"}
    assert len(live_hall.stage.minter.secrets_made) == 1
    assert live_hall.refusals() == ["in_progress"] * 9


def test_knocking_at_once_leaves_one_fact(live_hall: Hall) -> None:
    """Thirty strangers from one source in one minute: one fact, or two across its turn."""
    at_once(30, lambda: live_hall.client.get("/v1/leases"))
    assert len(live_hall.facts(kind="Knocked")) in {1, 2}


def test_text_that_the_database_cannot_hold_never_reaches_it(live_hall: Hall) -> None:
    """NUL and lone surrogates in every text: 422 with one fact, never a defect."""
    for bad in ("\\u0000", "\\ud800", "\\udfff\\ud800"):
        raw = f'{{"purpose": "a{bad}", "scopes": ["orders-db:read"], "ttl": 60}}'.encode()
        answer = live_hall.bot.call("POST", "/v1/tasks", raw)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), bad
    assert live_hall.refusals() == ["invalid_request"] * 3
    for path in ("/v1/leases?agent=a%00", "/v1/agents/a%00", "/v1/tasks/task_%00"):
        assert live_hall.bot.call("GET", path).status_code in {404, 422}, path


def test_a_denial_survives_the_error_it_raises(live_hall: Hall) -> None:
    """403, and AskDenied is in the database with the decision's id."""
    task = live_hall.bot.start()["id"]
    denied = live_hall.bot.ask(task, "orders-db:drop{region=eu}").json()
    (fact,) = live_hall.facts(kind="AskDenied")
    assert fact.fact.decision_id == denied["decision_id"]
    assert live_hall.refusals() == []


def test_every_list_and_filter_is_a_query_the_database_takes(live_hall: Hall) -> None:
    """Each filter of each list, one after another, on a real schema."""
    hall = live_hall
    lease = hall.bot.ask(hall.bot.start()["id"]).json()["lease"]
    queries = {
        "leases": ["state=active", "agent=refund-bot", "owner=olivia@example.com"],
        "grants": ["state=granted", f"task={lease['task']}"],
        "history": [
            f"agent={lease['agent_id']}",
            "agent=refund-bot",
            "owner=olivia@example.com",
            f"task={lease['task']}",
            f"grant={lease['grant']}",
            f"lease={lease['id']}",
            "target=orders-db",
            "outcome=allow",
            f"kind={FactKind.LEASE_MINTED.value}",
            "since=2020-01-01T00:00:00Z",
            "until=2100-01-01T00:00:00%2B02:00",
            "cursor=999999999999",
        ],
    }
    for noun, wanted in queries.items():
        for query in wanted:
            assert hall.operator.get(f"/v1/{noun}?{query}")["items"], (noun, query)
    assert hall.operator.get("/v1/leases?state=stuck&agent=nobody")["items"] == []


def test_the_counts_of_the_store_are_what_metrics_take(
    live_hall: Hall, sql_store: SqlStore
) -> None:
    """The real query has exactly the names that the gauges need."""
    live_hall.bot.ask(live_hall.bot.start()["id"], SCOPE)
    text = live_hall.watch.metrics.text(sql_store.counts).decode()
    assert 'valetkey_leases{kind="live"} 1.0' in text
    assert "valetkey_store_up 1.0" in text


def at_once(times: int, act: Any) -> list[Any]:
    """What so many threads got that began together."""
    gate, got = threading.Barrier(times), []

    def run() -> None:
        gate.wait(30)
        got.append(act())

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return got


def test_a_kill_does_not_wait_for_connections_that_asks_hold(
    live_hall: Hall, sql_store: SqlStore
) -> None:
    """With every connection for requests held, a kill is ordered, enforced and proven."""
    assert live_hall.bot.ask(live_hall.bot.start()["id"]).status_code == 201
    body = {"height": "everything", "subject": "", "reason": "odd"}
    headers = live_hall.operator.headers("POST", "/v1/kill")
    with ExitStack() as held:
        for _ in range(24 + 4):
            held.enter_context(sql_store.transaction())
        ordered = live_hall.client.post("/v1/kill", json=body, headers=headers)
    assert ordered.status_code == 202, ordered.text
    assert (ordered.json()["unended"], ordered.json()["ended"]) == (0, 1)
