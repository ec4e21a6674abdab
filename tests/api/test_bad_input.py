"""Bad input, a row each: the right code, exactly one fact, nothing minted, nothing echoed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.api.hall import SCOPE, Hall
from valetkey.core.decision import Decision, Question
from valetkey.core.errors import MintedTooLong, MinterUnavailable
from valetkey.core.facts import FactKind
from valetkey.web.bodies import DEEPEST

CANARY = "canary-5f2c9a"
LIMIT = 64 * 1024


def body(task: str, **changes: object) -> dict[str, object]:
    """A good ask, with changes."""
    good: dict[str, object] = {"task": task, "scope": SCOPE, "ttl": 300, "reason": CANARY}
    return {**good, **changes}


def raw(task: str, more: str) -> bytes:
    """A good ask with more members, written by hand."""
    return f"{json.dumps(body(task))[:-1]}, {more}}}".encode()


BAD_BODIES: dict[str, tuple[str, int, Callable[[str], object]]] = {
    "a member given twice": ("invalid_request", 422, lambda t: raw(t, f'"reason": "{CANARY}"')),
    "a member given twice further in": (
        "invalid_request",
        422,
        lambda t: raw(t, f'"x": {{"{CANARY}": 1, "{CANARY}": 2}}'),
    ),
    "NaN": ("invalid_request", 422, lambda t: raw(t, '"x": NaN')),
    "NaN as the TTL": (
        "invalid_request",
        422,
        lambda t: json.dumps(body(t)).encode().replace(b"300", b"NaN"),
    ),
    "Infinity": ("invalid_request", 422, lambda t: raw(t, '"x": -Infinity')),
    "a number that overflows": ("invalid_request", 422, lambda t: raw(t, '"x": 1e999')),
    "a number of five thousand digits": (
        "invalid_request",
        422,
        lambda t: raw(t, '"x": ' + "9" * 5000),
    ),
    "an unknown member": ("invalid_request", 422, lambda t: body(t, **{CANARY: 1})),
    "no scope": ("invalid_request", 422, lambda t: {"task": t, "ttl": 300, "reason": CANARY}),
    "no TTL": ("invalid_request", 422, lambda t: {"task": t, "scope": SCOPE, "reason": CANARY}),
    "a TTL as text": ("invalid_ttl", 422, lambda t: body(t, ttl="300")),
    "a TTL of zero": ("invalid_ttl", 422, lambda t: body(t, ttl=0)),
    "a TTL below zero": ("invalid_ttl", 422, lambda t: body(t, ttl=-1)),
    "a huge TTL": ("invalid_ttl", 422, lambda t: body(t, ttl=10**12)),
    "true as a TTL": ("invalid_ttl", 422, lambda t: body(t, ttl=True)),
    "a TTL with a fraction": ("invalid_ttl", 422, lambda t: body(t, ttl=3.0)),
    "null as a TTL": ("invalid_ttl", 422, lambda t: body(t, ttl=None)),
    "a list as a TTL": ("invalid_ttl", 422, lambda t: body(t, ttl=[300])),
    "a scope that is no text": (
        "invalid_request",
        422,
        lambda t: body(t, scope={"target": CANARY}),
    ),
    "a scope that is not one": ("invalid_request", 422, lambda t: body(t, scope=f"{CANARY}!")),
    "a scope of a megabyte": ("invalid_request", 422, lambda t: body(t, scope="a" * 5000)),
    "an unknown scope": ("unknown_scope", 422, lambda t: body(t, scope="orders-db:canary-5f2c9a")),
    "an unknown target": ("unknown_scope", 422, lambda t: body(t, scope="canary-5f2c9a:read")),
    "a parameter out of its type": (
        "invalid_parameter",
        422,
        lambda t: body(t, scope=f"orders-db:read{{region={CANARY}}}"),
    ),
    "SQL in a parameter": (
        "invalid_parameter",
        422,
        lambda t: body(t, scope=f"orders-db:read{{region=eu'; DROP TABLE {CANARY}--}}"),
    ),
    "a path in a parameter": (
        "invalid_parameter",
        422,
        lambda t: body(t, scope=f"orders-db:read{{region=../{CANARY}}}"),
    ),
    "a parameter given twice": (
        "invalid_parameter",
        422,
        lambda t: body(t, scope="orders-db:read{region=eu,region=us}"),
    ),
    "a missing parameter": ("invalid_parameter", 422, lambda t: body(t, scope="orders-db:read")),
    "a lone surrogate": (
        "invalid_request",
        422,
        lambda t: json.dumps(body(t)).encode().replace(b"canary", b"\\ud800canary"),
    ),
    "a NUL": ("invalid_request", 422, lambda t: body(t, reason=f"{CANARY}\x00")),
    "a reason over its limit": ("invalid_request", 422, lambda t: body(t, reason=CANARY * 200)),
    "deep nesting": (
        "invalid_request",
        422,
        lambda t: raw(t, f'"x": {"[" * DEEPEST + "]" * DEEPEST}'),
    ),
    "nesting without end": ("invalid_request", 422, lambda t: b"[" * 60_000),
    "a list instead of an object": ("invalid_request", 422, lambda t: [CANARY]),
    "no JSON": ("invalid_request", 422, lambda t: f"task={t}&{CANARY}".encode()),
    "nothing": ("invalid_request", 422, lambda t: b""),
    "UTF-16": ("invalid_request", 422, lambda t: json.dumps(body(t)).encode("utf-16")),
    "a byte order mark": (
        "invalid_request",
        422,
        lambda t: b"\xef\xbb\xbf" + json.dumps(body(t)).encode(),
    ),
    "a body over the limit": (
        "body_too_large",
        413,
        lambda t: body(t, reason=CANARY + "a" * LIMIT),
    ),
    "a task that cannot be one": ("not_found", 404, lambda t: body(f"{t}' OR 1=1 -- {CANARY}")),
    "an unknown task": ("not_found", 404, lambda t: body("task_" + "0" * 26)),
}


def refused_once(hall: Hall, before: int, answer: Any, code: str, status: int) -> None:
    """The right refusal, one fact, nothing minted, nothing echoed."""
    assert (answer.json()["code"], answer.status_code) == (code, status), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["next_action"]
    assert CANARY not in answer.text
    assert CANARY not in str(answer.headers)
    new = [entry.fact for entry in hall.facts()[before:]]
    assert [(fact.kind, fact.outcome) for fact in new] == [(FactKind.REQUEST_REFUSED, code)]
    assert new[0].agent_id == hall.stage.agent.id
    assert CANARY not in repr(new)
    assert not hall.stage.minter.secrets_made


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_bad_ask_is_refused_once_and_never_echoed(hall: Hall, what: str) -> None:
    """Code and status as documented, one fact, no credential, no canary in the answer."""
    code, status, make = BAD_BODIES[what]
    task = hall.bot.start()["id"]
    before = len(hall.facts())
    answer = hall.bot.call("POST", "/v1/credentials", make(task), Idempotency_Key="k")
    refused_once(hall, before, answer, code, status)


BAD_HEADERS: dict[str, tuple[str, int, dict[str, str]]] = {
    "no idempotency key": ("invalid_request", 422, {}),
    "an empty idempotency key": ("invalid_request", 422, {"Idempotency_Key": ""}),
    "a long idempotency key": ("invalid_request", 422, {"Idempotency_Key": CANARY * 20}),
    "an idempotency key with spaces": ("invalid_request", 422, {"Idempotency_Key": f"{CANARY} x"}),
    "a redelivery of no lease": (
        "invalid_request",
        422,
        {"Idempotency_Key": "k", "Redeliver": CANARY},
    ),
    "a form": (
        "unsupported_media_type",
        415,
        {"Idempotency_Key": "k", "Content_Type": "application/x-www-form-urlencoded"},
    ),
    "another charset": (
        "unsupported_media_type",
        415,
        {"Idempotency_Key": "k", "Content_Type": "application/json; charset=latin-1"},
    ),
}


@pytest.mark.parametrize("what", BAD_HEADERS)
def test_a_bad_header_is_refused_once(hall: Hall, what: str) -> None:
    """Missing, malformed or of another media type."""
    code, status, headers = BAD_HEADERS[what]
    task = hall.bot.start()["id"]
    before = len(hall.facts())
    answer = hall.bot.call("POST", "/v1/credentials", body(task), **headers)
    refused_once(hall, before, answer, code, status)


BAD_QUERIES = {
    "an unknown filter": f"/v1/leases?{CANARY}=1",
    "a filter given twice": "/v1/leases?state=active&state=ended",
    "a state with SQL": f"/v1/leases?state=a'--{CANARY}",
    "a task that is none": f"/v1/grants?task={CANARY}",
    "a NUL": "/v1/leases?agent=%00",
    "no UTF-8": "/v1/leases?agent=%ff%fe",
}


@pytest.mark.parametrize("what", BAD_QUERIES)
def test_a_bad_query_is_refused_once(hall: Hall, what: str) -> None:
    """A filter that is not known never silently matches everything."""
    before = len(hall.facts())
    refused_once(hall, before, hall.bot.call("GET", BAD_QUERIES[what]), "invalid_request", 422)


@pytest.mark.parametrize(
    "query",
    [
        "limit=501",
        "limit=0",
        "limit=-1",
        "cursor=x",
        "since=yesterday",
        "since=2026-13-01T00:00:00Z",
    ],
)
def test_history_takes_no_query_out_of_form(hall: Hall, query: str) -> None:
    """Limits, cursors and instants are checked before the store is asked."""
    answer = hall.operator.call("GET", f"/v1/history?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tasks/x",
        "/v1/tasks/task_%00",
        f"/v1/tasks/TASK_{'0' * 26}",
        f"/v1/leases/task_{'0' * 26}",
        "/v1/grants/..%2f..%2fetc",
        f"/v1/agents/{'a' * 500}",
    ],
)
def test_an_id_that_cannot_be_one_is_not_found(hall: Hall, path: str) -> None:
    """404 with one fact, whatever stands in the path."""
    before = len(hall.facts())
    answer = hall.bot.call("GET", path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert len(hall.facts()) - before <= 1


def test_the_path_that_was_sent_never_reaches_history(hall: Hall) -> None:
    """A refusal's fact names the route's template."""
    hall.bot.call("GET", f"/v1/tasks/{CANARY}")
    assert hall.facts()[-1].fact.body == {"about": "GET /v1/tasks/{task_id}"}


def test_an_ended_task_gives_nothing(hall: Hall) -> None:
    """409 task_ended, one fact."""
    task = hall.bot.start()["id"]
    hall.bot.call("POST", f"/v1/tasks/{task}/end")
    before = len(hall.facts())
    answer = hall.bot.call("POST", "/v1/credentials", body(task), Idempotency_Key="k")
    refused_once(hall, before, answer, "task_ended", 409)


def test_another_agents_task_gives_nothing(hall: Hall) -> None:
    """404, as for a task that does not exist; the same agent with another key too."""
    task = hall.bot.start()["id"]
    other_key = hall.visitor(hall.stage.bot)
    before = len(hall.facts())
    answer = other_key.call("POST", "/v1/credentials", body(task), Idempotency_Key="k")
    refused_once(hall, before, answer, "not_found", 404)


def test_a_replayed_proof_is_refused(hall: Hall) -> None:
    """The second use of one proof: 401, nothing minted."""
    task = hall.bot.start()["id"]
    headers = {
        **hall.bot.headers("POST", "/v1/credentials"),
        "Content-Type": "application/json",
        "Idempotency-Key": "k",
    }
    sent = json.dumps(body(task, ttl="x"))
    hall.client.post("/v1/credentials", content=sent, headers=headers)
    again = hall.client.post("/v1/credentials", content=json.dumps(body(task)), headers=headers)
    assert (again.status_code, again.json()["code"]) == (401, "proof_replayed")
    assert again.headers["WWW-Authenticate"].startswith("DPoP ")
    assert not hall.stage.minter.secrets_made


def test_a_stranger_is_refused_before_the_body_is_looked_at(hall: Hall) -> None:
    """Without a token a bad body is 401, not 422."""
    answer = hall.client.post("/v1/tasks", content=b"{", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_agents_and_people_cannot_use_each_others_doors(hall: Hall) -> None:
    """403 wrong_door, with one fact each."""
    grant = f"/v1/grants/grant_{'0' * 26}"
    calls = [
        (hall.bot, "POST", f"{grant}/approve"),
        (hall.bot, "POST", "/v1/kill"),
        (hall.bot, "GET", "/v1/history"),
        (hall.bot, "POST", "/v1/agents"),
        (hall.owner, "POST", "/v1/tasks"),
        (hall.owner, "POST", "/v1/credentials"),
        (hall.owner, "POST", f"{grant}/collect"),
        (hall.owner, "POST", "/v1/agents"),
        (hall.job, "POST", "/v1/tasks"),
        (hall.job, "GET", "/v1/leases"),
        (hall.job, "POST", "/v1/agents/refund-bot/accept"),
    ]
    for number, (visitor, method, path) in enumerate(calls, start=1):
        answer = visitor.call(method, path, {} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_door"), path
        assert hall.refusals() == ["wrong_door"] * number


def test_only_operators_kill(hall: Hall) -> None:
    """An owner is refused, once, and nothing stops."""
    answer = hall.owner.call("POST", "/v1/kill", {"height": "everything", "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (403, "role_required")
    assert hall.refusals() == ["role_required"]
    hall.bot.start()


@pytest.mark.parametrize(
    "wanted",
    [
        {"height": "planet", "reason": "x"},
        {"height": "agent", "subject": CANARY + "!", "reason": "x"},
        {"height": "everything", "reason": " "},
        {"height": "everything"},
        {"height": "everything", "subject": "a", "reason": "x"},
    ],
)
def test_a_kill_that_makes_no_sense_stops_nothing(hall: Hall, wanted: object) -> None:
    """422, one fact, no kill in force."""
    answer = hall.operator.call("POST", "/v1/kill", wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert hall.refusals() == ["invalid_request"]
    with hall.stage.broker.store.transaction() as tx:
        assert not tx.kills_in_force()


AGENT: dict[str, object] = {
    "name": "refund-two",
    "owner": "olivia@example.com",
    "team": "refunds",
    "boundary": ["orders-db:read"],
}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "Refund Two"}, "invalid_request"),
        ({"name": "refund-" + "x" * 80}, "invalid_request"),
        ({"owner": "nobody"}, "invalid_request"),
        ({"labels": {"environment": 1}}, "invalid_request"),
        ({"labels": {CANARY + "\u202e": "x"}}, "invalid_request"),
        ({"bindings": [{"issuer": "workloads", "claims": {}}]}, "invalid_request"),
        ({"bindings": [{"issuer": "workloads", "claims": {"sub": ["a"]}}]}, "invalid_request"),
        ({"boundary": [CANARY]}, "invalid_request"),
        ({"boundary": ["orders-db:nothing"]}, "outside_trust_rule"),
        ({"created_by": CANARY}, "invalid_request"),
        ({"name": "refund-bot"}, "name_taken"),
        ({"bindings": [{"issuer": "elsewhere", "claims": {"sub": "a"}}]}, "outside_trust_rule"),
    ],
)
def test_an_agent_out_of_form_is_not_registered(
    hall: Hall, changes: dict[str, object], code: str
) -> None:
    """One fact, no agent, no echo."""
    answer = hall.job.call("POST", "/v1/agents", {**AGENT, **changes})
    assert answer.json()["code"] == code, answer.text
    assert CANARY not in answer.text
    assert hall.refusals() == [code]
    assert len(hall.operator.get("/v1/agents")["items"]) == 1


def test_a_failed_mint_is_one_fact_and_hands_out_nothing(hall: Hall) -> None:
    """503 with Retry-After; MintFailed is its fact, no second refusal."""
    hall.stage.minter.fail_mint.append(MinterUnavailable(retry_after=3))
    task = hall.bot.start()["id"]
    answer = hall.bot.ask(task)
    assert (answer.status_code, answer.json()["code"]) == (503, "minter_unavailable")
    assert answer.headers["Retry-After"] == "3"
    assert hall.refusals() == []
    assert hall.facts()[-1].fact.kind is FactKind.MINT_FAILED


def test_a_back_end_that_grants_longer_delivers_nothing(hall: Hall) -> None:
    """502, and the secret is not in the answer."""
    hall.stage.minter.extra_life = hall.stage.broker.patience.claim
    answer = hall.bot.ask(hall.bot.start()["id"])
    assert (answer.status_code, answer.json()["code"]) == (502, MintedTooLong.code)
    assert hall.stage.minter.secrets_made[0] not in answer.text


def test_a_defect_says_nothing_and_is_logged_by_type_only(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    """500 internal without detail; one fact; the log knows the type and not the text."""

    class Defective:
        """Policy that breaks its word never to raise."""

        def decide(self, question: Question) -> Decision:
            """Raise."""
            raise KeyError(CANARY)

    task = hall.bot.start()["id"]
    hall.stage.rules.policy = Defective()
    answer = hall.bot.ask(task)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["Cache-Control"] == "no-store"
    assert CANARY not in answer.text
    assert "KeyError" in caplog.text
    assert CANARY not in caplog.text
    assert hall.refusals() == ["internal"]


def test_a_minter_that_breaks_is_an_unknown_outcome(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    """504 with the lease, which is ended; the broken call's text is nowhere."""

    def defect() -> None:
        raise KeyError(CANARY)

    hall.stage.minter.before_mint = defect
    answer = hall.bot.ask(hall.bot.start()["id"])
    assert (answer.status_code, answer.json()["code"]) == (504, "outcome_unknown")
    assert answer.json()["lease_id"]
    assert CANARY not in answer.text + caplog.text
    assert CANARY not in str(hall.stage.alarms.alarms)
    assert hall.facts()[-1].fact.kind is FactKind.MINT_FAILED


def test_unknown_routes_and_methods_are_problems(hall: Hall) -> None:
    """404 and 405 in our own words, with Allow; nothing of the framework."""
    unknown = hall.client.get("/v1/nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    wrong = hall.client.delete("/v1/tasks")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "invalid_request")
    assert wrong.headers["Allow"]
    assert hall.client.get("/docs").status_code == 404


def test_two_tokens_or_two_proofs_are_none(hall: Hall) -> None:
    """Doubled headers are refused, whichever is good."""
    good = hall.bot.headers("GET", "/v1/tasks")
    doubled = [*good.items(), ("Authorization", good["Authorization"])]
    assert hall.client.get("/v1/tasks", headers=doubled).status_code == 401
    good = hall.bot.headers("GET", "/v1/tasks")
    doubled = [*good.items(), ("DPoP", hall.bot.proof("GET", "/v1/tasks"))]
    assert hall.client.get("/v1/tasks", headers=doubled).status_code == 401


def test_a_person_of_another_agents_owner_cannot_end_its_task(hall: Hall) -> None:
    """404, one fact, the task goes on."""
    task = hall.bot.start()["id"]
    stranger = hall.visitor(replace(hall.stage.owner, email="sam@example.com"))
    answer = stranger.call("POST", f"/v1/tasks/{task}/end")
    assert (answer.status_code, hall.refusals()) == (404, ["not_found"])
    assert hall.bot.get(f"/v1/tasks/{task}")["state"] == "open"


def test_a_stolen_token_without_its_key_is_worth_nothing(hall: Hall) -> None:
    """The token under another key: 401; as a bearer token: 401."""
    thief = hall.visitor(hall.stage.bot)
    headers = {
        "Authorization": f"DPoP {hall.bot.token}",
        "DPoP": thief.proof("GET", "/v1/tasks", token=hall.bot.token, jti=secrets.token_hex(8)),
    }
    assert hall.client.get("/v1/tasks", headers=headers).json()["code"] == "key_mismatch"
    bearer = {**hall.bot.headers("GET", "/v1/tasks"), "Authorization": f"Bearer {hall.bot.token}"}
    assert hall.client.get("/v1/tasks", headers=bearer).status_code == 401
