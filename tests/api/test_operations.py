"""Health, readiness, metrics, headers, and threads that stay free for what must not wait."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from tests.api.hall import Hall
from valetkey.clockwork import Beats, Clockwork
from valetkey.core.errors import StoreUnavailable
from valetkey.core.facts import HistoryQuery
from valetkey.ports import Trouble
from valetkey.web.api import answers
from valetkey.web.knocks import MOST_SOURCES, Knocks, source_of
from valetkey.web.metrics import Metrics, TimedMinter


def test_alive_and_ready_are_two_things(hall: Hall) -> None:
    """Unready with 503 and the parts, never what is wrong with which target; alive all the same."""
    assert hall.client.get("/readyz").json() == {"status": "ready"}
    hall.health.reasons.append(Trouble("openbao-database", "orders-db is away"))
    unready = hall.client.get("/readyz")
    assert unready.status_code == 503
    answers.Problem.model_validate(unready.json())
    assert unready.json()["reasons"] == ["openbao-database"]
    assert "orders-db" not in unready.text
    assert unready.headers["Retry-After"]
    assert hall.client.get("/healthz").json() == {"status": "alive"}


def test_metrics_tell_leases_decisions_and_refusals(hall: Hall) -> None:
    """Gauges from one look at the database; counters by outcome and code."""
    hall.counts |= {"live": 3, "overdue": 2, "stuck": 1, "oldest_unended_seconds": 7.5}
    task = hall.bot.start()["id"]
    hall.bot.ask(task)
    hall.bot.ask(task, "orders-db:write{region=eu}")
    hall.bot.ask(task, "orders-db:drop{region=eu}")
    answer = hall.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    for line in (
        'valetkey_leases{kind="live"} 3.0',
        'valetkey_leases{kind="overdue"} 2.0',
        'valetkey_leases{kind="stuck"} 1.0',
        "valetkey_oldest_unended_seconds 7.5",
        "valetkey_store_up 1.0",
        'valetkey_decisions_total{outcome="allow"} 1.0',
        'valetkey_decisions_total{outcome="needs_approval"} 1.0',
        'valetkey_decisions_total{outcome="deny"} 1.0',
        'valetkey_refusals_total{code="denied_by_policy"} 1.0',
    ):
        assert line in answer.text, line


def test_metrics_survive_a_database_that_is_away() -> None:
    """The scrape works and says that the database does not answer."""

    def away() -> dict[str, float]:
        raise StoreUnavailable()

    metrics = Metrics()
    metrics.text(lambda: {"live": 1, "overdue": 0, "stuck": 0, "oldest_unended_seconds": 0})
    text = metrics.text(away).decode()
    assert "valetkey_store_up 0.0" in text
    assert 'kind="live"' not in text


def test_metrics_tell_what_came_of_probes(hall: Hall) -> None:
    """What one target came to, how long ours took, and nothing of one that is not probed any more."""
    probes = Clockwork(hall.stage.broker, Beats())
    probes.outcomes = {"orders-db": "ok", "second-db": "failed"}
    probes.took["orders-db"] = 0.25
    metrics = hall.watch.metrics
    metrics.note_probes(probes)
    text = hall.client.get("/metrics").text
    assert 'valetkey_probe_ok{target="orders-db"} 1.0' in text
    assert 'valetkey_probe_ok{target="second-db"} 0.0' in text
    assert 'valetkey_probe_seconds{target="orders-db"} 0.25' in text
    probes.outcomes = {"second-db": "ok"}
    metrics.note_probes(probes)
    text = hall.client.get("/metrics").text
    assert 'valetkey_probe_ok{target="second-db"} 1.0' in text
    assert 'valetkey_probe_ok{target="orders-db"}' not in text


def test_metrics_tell_whether_bundles_are_had(hall: Hall) -> None:
    """By the issuer's name; without any there is no such line."""
    assert "valetkey_bundle_ok{" not in hall.client.get("/metrics").text
    hall.watch.metrics.note_bundles({"example-org": True, "example-com": False})
    text = hall.client.get("/metrics").text
    assert 'valetkey_bundle_ok{issuer="example-org"} 1.0' in text
    assert 'valetkey_bundle_ok{issuer="example-com"} 0.0' in text


def test_minting_and_ending_are_timed_by_target_and_outcome(hall: Hall) -> None:
    """The wrapped minter is a minter, and its histogram knows what came of each call."""
    metrics = hall.watch.metrics
    minters = hall.stage.broker.minters
    assert isinstance(minters, dict)
    minters["fake"] = TimedMinter(hall.stage.minter, metrics)
    task = hall.bot.start()["id"]
    hall.bot.ask(task)
    hall.bot.call("POST", f"/v1/tasks/{task}/end")
    text = metrics.text(lambda: hall.counts).decode()
    assert 'valetkey_mint_seconds_count{outcome="done",target="orders-db"} 1.0' in text
    assert 'valetkey_end_seconds_count{outcome="done",target="orders-db"} 1.0' in text


def test_every_answer_has_its_headers(hall: Hall) -> None:
    """Not to be stored, not to be sniffed, and no word of who serves."""
    for path in ("/healthz", "/readyz", "/metrics", "/v1/tasks", "/nothing", "/oauth2/jwks"):
        headers = hall.client.get(path).headers
        assert headers["Cache-Control"] == "no-store", path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "Server" not in headers, path


def test_with_the_database_away_nothing_is_issued_and_the_answer_says_so(hall: Hall) -> None:
    """503 store_unavailable with Retry-After."""
    hall.stage.minter.fail_mint.append(StoreUnavailable(retry_after=2))
    answer = hall.bot.ask(hall.bot.start()["id"])
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_a_revocation_does_not_wait_behind_mints_that_hang() -> None:
    """With every slow place taken by a hanging mint, revoking and health answer at once."""
    with ExitStack() as stack:
        hall = Hall(stack, threads=6, slow_calls=2, room_within=0.2)
        task = hall.bot.start()["id"]
        lease = hall.bot.ask(task).json()["lease"]
        gate, arrived = threading.Event(), threading.Semaphore(0)

        def hang() -> None:
            arrived.release()
            assert gate.wait(30)

        hall.stage.minter.before_mint = hang
        asking = [threading.Thread(target=hall.bot.ask, args=(task,)) for _ in range(2)]
        try:
            for thread in asking:
                thread.start()
            for _ in asking:
                assert arrived.acquire(timeout=30)
            full = hall.bot.ask(task)
            assert (full.status_code, full.json()["code"]) == (503, "not_ready")
            path = f"/v1/leases/{lease['id']}/revoke"
            assert hall.owner.call("POST", path).status_code == 202
            assert hall.client.get("/readyz").status_code == 200
        finally:
            gate.set()
            for thread in asking:
                thread.join(30)
        assert hall.refusals() == ["not_ready"]


def test_sources_are_addresses_and_networks_and_bounded(hall: Hall) -> None:
    """IPv4 whole, IPv6 by its /64; beyond a thousand sources a minute they are one."""
    assert source_of("192.0.2.7") == "192.0.2.7"
    assert source_of("2001:db8::1") == source_of("2001:db8::2") == "2001:db8::/64"
    assert source_of("testclient") == "unknown"
    knocks = Knocks(hall.stage.broker.store, Metrics())
    for number in range(MOST_SOURCES + 50):
        knocks.knocked(f"10.0.{number // 250}.{number % 250}", StoreUnavailable())
    with hall.stage.broker.store.transaction() as tx:
        facts = tx.history(HistoryQuery(limit=5000))
    assert len(facts) == MOST_SOURCES + 1
    assert facts[0].fact.body["source"] == "others"
