"""Every command of the contract: what it sends, what it prints, how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker, problem

ASK = ("orders-db:read{region=eu}", "--task", "task_1", "--ttl", "5m")
ISSUED = {"lease": samples.LEASE, "credential": samples.CREDENTIAL}
WAITS = {"grant": samples.GRANT}

EITHER = [
    (("task", "list"), "GET /v1/tasks", {"items": [samples.TASK]}, 0),
    (("task", "show", "task_1"), "GET /v1/tasks/task_1", samples.TASK, 0),
    (("task", "end", "task_1"), "POST /v1/tasks/task_1/end", samples.RECEIPT, 0),
    (("task", "receipt", "task_1"), "GET /v1/tasks/task_1/receipt", samples.RECEIPT, 0),
    (("agent", "list"), "GET /v1/agents", {"items": [samples.AGENT]}, 0),
    (("agent", "show", "refund-bot"), "GET /v1/agents/refund-bot", samples.AGENT, 0),
    (
        ("agent", "bind", "refund-bot", "workloads", "sub=bot"),
        "POST /v1/agents/refund-bot/bindings",
        samples.AGENT["bindings"][0],
        0,
    ),
    (
        ("agent", "unbind", "refund-bot", "binding_1"),
        "POST /v1/agents/refund-bot/bindings/binding_1/unbind",
        samples.AGENT,
        0,
    ),
    (("lease", "list"), "GET /v1/leases", {"items": [samples.LEASE]}, 0),
    (("lease", "show", "lease_1"), "GET /v1/leases/lease_1", samples.LEASE, 0),
    (("lease", "revoke", "lease_1"), "POST /v1/leases/lease_1/revoke", samples.ENDED, 0),
    (("grant", "list"), "GET /v1/grants", {"items": [samples.GRANT]}, 0),
    (("grant", "show", "grant_1"), "GET /v1/grants/grant_1", samples.GRANT, 0),
    (("catalogue", "show"), "GET /v1/catalogue", samples.CATALOGUE, 0),
]
WORKLOAD = [
    (
        ("task", "start", "--purpose", "refund", "--scope", "orders-db:read", "--ttl", "30m"),
        "POST /v1/tasks",
        samples.TASK,
        0,
    ),
    (
        ("task", "heartbeat", "task_1", "--fence", "3"),
        "POST /v1/tasks/task_1/heartbeat",
        {**samples.TASK, "heartbeat": 10, "fence": 4},
        0,
    ),
    (("request", *ASK), "POST /v1/credentials", ISSUED, 0),
    (("explain", *ASK), "POST /v1/credentials/explain", samples.EXPLAINED, 0),
    (("grant", "collect", "grant_1"), "POST /v1/grants/grant_1/collect", ISSUED, 0),
    (("grant", "withdraw", "grant_1"), "POST /v1/grants/grant_1/withdraw", samples.GRANT, 0),
    (
        ("agent", "register", "refund-bot", "--owner", "o@example.com", "--team", "refunds"),
        "POST /v1/agents",
        samples.AGENT,
        0,
    ),
]
PERSON = [
    (("agent", "accept", "refund-bot"), "POST /v1/agents/refund-bot/accept", samples.AGENT, 0),
    (("agent", "disable", "refund-bot"), "POST /v1/agents/refund-bot/disable", samples.AGENT, 0),
    (("grant", "deny", "grant_1"), "POST /v1/grants/grant_1/deny", samples.GRANT, 0),
    (("lease", "lineage", "lease_1"), "GET /v1/leases/lease_1/lineage", samples.LINEAGE, 0),
    (
        ("kill", "order", "agent", "agent_1", "--reason", "drill"),
        "POST /v1/kill",
        samples.KILL,
        0,
    ),
    (
        ("kill", "order", "vendor", "acme", "--reason", "drill", "--drill"),
        "POST /v1/kill",
        samples.DRILL,
        0,
    ),
    (("kill", "list"), "GET /v1/kill", {"items": [samples.KILL]}, 0),
    (("kill", "show", "kill_1"), "GET /v1/kill/kill_1", samples.KILL, 0),
    (("history", "search"), "GET /v1/history", {"items": [samples.FACT], "next": "7"}, 0),
]


def _id(case: object) -> str:
    return " ".join(case[:2]) if isinstance(case, tuple) and case else ""


CASES = "argv, route, answer, code"


@pytest.mark.parametrize(CASES, [*WORKLOAD, *EITHER], ids=_id)
def test_a_workload_gets_the_answer_as_one_json_document(
    bot: Terminal, broker: FakeBroker, argv: tuple[str, ...], route: str, answer: dict, code: int
) -> None:
    """With --json, stdout is exactly what the broker answered, and the call was signed."""
    broker.on(route, (200, answer))
    done = bot.run(*argv, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (code, answer), done.stderr
    (call,) = broker.made(route)
    assert call.headers["authorization"].startswith("DPoP ")
    assert call.proof["htm"] == route.split()[0]


@pytest.mark.parametrize(CASES, [*PERSON, *EITHER], ids=_id)
def test_a_person_gets_the_answer_as_one_json_document(
    person: Terminal, broker: FakeBroker, argv: tuple[str, ...], route: str, answer: dict, code: int
) -> None:
    """The same for people, whose proof is their login."""
    broker.on(route, (200, answer))
    done = person.run(*argv, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (code, answer), done.stderr
    (exchanged,) = broker.made("POST /oauth2/token")
    assert exchanged.form["subject_token_type"].endswith(":id_token")


@pytest.mark.parametrize(CASES, [*WORKLOAD, *EITHER], ids=_id)
def test_people_get_a_table(
    bot: Terminal, broker: FakeBroker, argv: tuple[str, ...], route: str, answer: dict, code: int
) -> None:
    """Without --json, a readable table is printed that is no JSON."""
    broker.on(route, (200, answer))
    done = bot.run(*argv)
    assert done.exit_code == code, done.stderr
    assert done.stdout.strip()
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(done.stdout)


def _refused(person: Terminal, bot: Terminal, argv: tuple[str, ...]) -> Terminal:
    return person if argv in [case[0] for case in PERSON] else bot


@pytest.mark.parametrize(CASES, [*PERSON, *WORKLOAD, *EITHER], ids=_id)
def test_a_refusal_exits_1_and_says_code_reason_and_next_action(
    person: Terminal,
    bot: Terminal,
    broker: FakeBroker,
    argv: tuple[str, ...],
    route: str,
    answer: dict,
    code: int,
) -> None:
    """Whatever is refused: exit 1, the words on stderr, one JSON document on stdout."""
    broker.on(route, (403, problem("outside_boundary", 403, decision_id="decision_9")))
    done = _refused(person, bot, argv).run(*argv, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["refused"]["code"] == "outside_boundary"
    for word in ("outside_boundary", "why outside_boundary", "what to do about", "decision_9"):
        assert word in done.stderr


def test_a_waiting_request_exits_3_and_prints_the_grant(bot: Terminal, broker: FakeBroker) -> None:
    """People decide first: nothing was minted, the grant is what is printed."""
    broker.on("POST /v1/credentials", (202, WAITS))
    done = bot.run("request", *ASK, "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout) == WAITS


def test_a_request_that_waits_collects_what_was_approved(bot: Terminal, broker: FakeBroker) -> None:
    """With --wait the grant is looked at until people decided, then collected."""
    broker.on("POST /v1/credentials", (202, WAITS))
    approved = {**samples.GRANT, "state": "approved"}
    broker.on("GET /v1/grants/grant_1", (200, samples.GRANT), (200, approved))
    broker.on("POST /v1/grants/grant_1/collect", (201, ISSUED))
    done = bot.run("request", *ASK, "--wait", "10s", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, ISSUED)


def test_an_ask_carries_what_was_given(bot: Terminal, broker: FakeBroker) -> None:
    """The body is the ask with a whole number of seconds, the key and lost lease are headers."""
    broker.on("POST /v1/credentials", (201, ISSUED))
    more = ("--reason", "why", "--idempotency-key", "k1", "--redeliver", "lease_0")
    assert bot.run("request", *ASK, *more).exit_code == 0
    (call,) = broker.made("POST /v1/credentials")
    assert call.json == {"task": "task_1", "scope": ASK[0], "ttl": 300, "reason": "why"}
    assert (call.headers["idempotency-key"], call.headers["redeliver"]) == ("k1", "lease_0")


def test_each_ask_has_a_key_of_its_own(bot: Terminal, broker: FakeBroker) -> None:
    """An idempotency key that is not given is made, and differs between asks."""
    broker.on("POST /v1/credentials", (201, ISSUED))
    bot.run("request", *ASK)
    bot.run("request", *ASK)
    first, second = (
        call.headers["idempotency-key"] for call in broker.made("POST /v1/credentials")
    )
    assert first != second


@pytest.mark.parametrize(("outcome", "code"), [("needs_approval", 3), ("deny", 1)])
def test_explain_exits_as_the_request_would(
    bot: Terminal, broker: FakeBroker, outcome: str, code: int
) -> None:
    """3 when people would have to decide, 1 for a deny; the decision is printed all the same."""
    broker.on("POST /v1/credentials/explain", (200, {**samples.EXPLAINED, "outcome": outcome}))
    done = bot.run("explain", *ASK, "--json")
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (code, outcome)


def test_a_settling_end_exits_3_and_waits_when_asked(bot: Terminal, broker: FakeBroker) -> None:
    """Ending is not over before every end is proven."""
    settling = {**samples.RECEIPT, "status": "settling"}
    broker.on("POST /v1/tasks/task_1/end", (202, settling))
    broker.on("GET /v1/tasks/task_1/receipt", (200, settling), (200, samples.RECEIPT))
    assert bot.run("task", "end", "task_1").exit_code == 3
    assert bot.run("task", "end", "task_1", "--wait", "10s").exit_code == 0


def test_a_revocation_waits_for_its_proof_when_asked(bot: Terminal, broker: FakeBroker) -> None:
    """202 is exit 3; with --wait the lease is looked at until it has ended."""
    broker.on("POST /v1/leases/lease_1/revoke", (202, {**samples.LEASE, "state": "ending"}))
    broker.on("GET /v1/leases/lease_1", (200, samples.ENDED))
    assert bot.run("lease", "revoke", "lease_1").exit_code == 3
    assert bot.run("lease", "revoke", "lease_1", "--wait", "5s").exit_code == 0


def test_a_kill_is_3_until_nothing_is_left(person: Terminal, broker: FakeBroker) -> None:
    """The kill switch says how far it is."""
    broker.on("POST /v1/kill", (202, {**samples.KILL, "unended": 2}))
    broker.on("GET /v1/kill/kill_1", (200, {**samples.KILL, "unended": 1}), (200, samples.KILL))
    order = ("kill", "order", "agent", "agent_1", "--reason", "drill")
    assert person.run(*order).exit_code == 3
    assert person.run(*order, "--wait", "5s").exit_code == 0


def test_a_kill_fills_a_bar_for_people_only(person: Terminal, broker: FakeBroker) -> None:
    """On standard error, with how many of how many; `--json` prints its document alone."""
    broker.on("POST /v1/kill", (202, {**samples.KILL, "unended": 2, "ended": 0}))
    broker.on("GET /v1/kill/kill_1", (200, {**samples.KILL, "unended": 1}), (200, samples.KILL))
    order = ("kill", "order", "everything", "--reason", "odd", "--wait", "5s")
    told = person.run(*order)
    assert "2/2" in told.stderr
    assert "ends proven" in told.stderr
    broker.on("GET /v1/kill/kill_1", (200, samples.KILL))
    told = person.run("kill", "show", "kill_1", "--json")
    assert told.stderr == ""
    assert json.loads(told.stdout) == samples.KILL


def test_a_drill_is_asked_for_and_not_waited_for(person: Terminal, broker: FakeBroker) -> None:
    """The body says so, and the answer is all there is."""
    broker.on("POST /v1/kill", (200, samples.DRILL))
    drill = ("kill", "order", "vendor", "acme", "--reason", "x", "--drill", "--wait", "5s")
    assert person.run(*drill).exit_code == 0
    (call,) = broker.calls[-1:]
    assert call.json == {"height": "vendor", "subject": "acme", "reason": "x", "drill": True}


def test_history_filters_are_sent(person: Terminal, broker: FakeBroker) -> None:
    """Filters become the query; one that is not given is not sent."""
    broker.on("GET /v1/history", (200, {"items": [], "next": None}))
    person.run("history", "search", "--task", "task_1", "--since", "2026-01-05T12:00:00+01:00")
    (call,) = broker.made("GET /v1/history")
    assert call.query == {"task": "task_1", "since": "2026-01-05T11:00:00+00:00", "limit": "100"}


def test_an_id_cannot_leave_its_place_in_the_path(bot: Terminal, broker: FakeBroker) -> None:
    """A slash or a question mark in an id is sent as part of the id."""
    bot.run("lease", "show", "../kill?x=1")
    assert "/v1/leases/..%2Fkill%3Fx%3D1" in {call.path for call in broker.calls}


def test_text_from_outside_cannot_move_the_cursor(person: Terminal, broker: FakeBroker) -> None:
    """Control characters, direction marks and newlines of an asker never reach the terminal."""
    broker.on("GET /v1/grants/grant_1", (200, samples.GRANT))
    done = person.run("grant", "show", "grant_1")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "reason (claimed by the asker, not checked)" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("state")]
    assert len(lines) == 1


def test_json_is_plain_ascii(person: Terminal, broker: FakeBroker) -> None:
    """Nothing hidden is in the JSON either; it is escaped and still the same value."""
    broker.on("GET /v1/grants/grant_1", (200, samples.GRANT))
    done = person.run("grant", "show", "grant_1", "--json")
    assert done.stdout.isascii()
    assert json.loads(done.stdout) == samples.GRANT


def test_tables_end_no_line_in_spaces_and_say_when_there_is_nothing(
    person: Terminal, broker: FakeBroker
) -> None:
    """What is copied from a terminal holds no filling; an empty list is not a lone heading."""
    broker.on("GET /v1/grants", (200, {"items": [samples.GRANT]}))
    shown = person.run("grant", "list").stdout
    assert all(line == line.rstrip() for line in shown.splitlines())
    broker.on("GET /v1/grants/grant_1", (200, samples.GRANT))
    assert "1 of valetkey-approvers\n" in person.run("grant", "show", "grant_1").stdout
    broker.on("GET /v1/grants", (200, {"items": []}))
    assert person.run("grant", "list").stdout == "None.\n"


def test_a_kind_of_fact_that_there_is_not_is_a_usage_error(person: Terminal) -> None:
    """A misspelt kind must not look like a clean record."""
    done = person.run("history", "search", "--kind", "LeaseMintd")
    assert done.exit_code == 2
    assert "LeaseMinted" in done.stderr


def test_who_has_no_login_is_told_both_ways_in(broker: FakeBroker, tmp_path: Path) -> None:
    """People are told to log in with this profile, agents which variable to set."""
    nobody = Terminal(tmp_path / "home", {"VALETKEY_URL": broker.url})
    told = nobody.run("--profile", "bea", "catalogue", "show").stderr
    assert "valetkey --profile bea login" in told
    assert "VALETKEY_IDENTITY_TOKEN_FILE" in told


def test_without_any_configuration_every_place_is_named(person: Terminal) -> None:
    """Exit 2, and where it was looked for."""
    done = person.run("doctor")
    assert done.exit_code == 2
    assert done.stderr.startswith("valetkey.yaml: is not there, nor /etc/valetkey/valetkey.yaml")
    assert "--config" in done.stderr
