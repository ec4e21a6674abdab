"""Whatever is sent, to whichever route, by whomever: a documented answer and never a defect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.hall import SCOPE, Hall
from valetkey.core.errors import catalogue
from valetkey.core.facts import HistoryQuery

CODES = {error.code for error in catalogue()} - {"internal"}
WORDS = st.sampled_from(
    [
        "task",
        "scope",
        "ttl",
        "reason",
        "purpose",
        "scopes",
        "name",
        "owner",
        "team",
        "labels",
        "boundary",
        "bindings",
        "issuer",
        "claims",
        "shown_hash",
        "height",
        "subject",
        "on_behalf_of",
        "agent",
        "x",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=20),
    st.sampled_from([SCOPE, "task_" + "0" * 26, "refund-x", "olivia@example.com", "everything"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
BODIES = st.dictionaries(WORDS, VALUES, max_size=6) | VALUES
QUERIES = st.dictionaries(
    st.sampled_from(["state", "agent", "owner", "task", "since", "cursor", "limit", "kind", "x"]),
    st.text(max_size=12),
    max_size=3,
)
QUICK = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def hall() -> Iterator[Hall]:
    """One hall for all examples."""
    with ExitStack() as stack:
        yield Hall(stack)


def routes(hall: Hall, *methods: str) -> list[tuple[str, str]]:
    """Every `/v1` route with these methods, ids filled in."""
    paths: dict[str, Any] = hall.app.openapi()["paths"]
    nouns = ("task", "grant", "lease", "kill", "proposal", "delegation", "binding")
    filled = {f"{noun}_id": f"{noun}_{'0' * 26}" for noun in nouns}
    found = [
        (method.upper(), path.format(name="refund-bot", version="0" * 64, **filled))
        for path, operations in paths.items()
        for method in operations
        if path.startswith("/v1/")
    ]
    return sorted(pair for pair in found if pair[0] in methods)


def known(answer: Any) -> None:
    """Success, or a problem of the catalogue that is no defect."""
    if answer.status_code >= 300:
        assert answer.json()["code"] in CODES, answer.text


@QUICK
@given(data=st.data(), body=BODIES)
def test_any_body_at_any_route_gets_a_known_answer(hall: Hall, data: Any, body: object) -> None:
    """Random JSON by agent, owner, operator and CI; a refusal adds exactly one fact."""
    method, path = data.draw(st.sampled_from(routes(hall, "POST", "PATCH")))
    visitor = data.draw(st.sampled_from([hall.bot, hall.owner, hall.operator, hall.job]))
    before = newest(hall)
    raw = json.dumps(body).encode()
    answer = visitor.call(method, path, raw, Idempotency_Key="k")
    known(answer)
    if answer.status_code >= 300:
        assert newest(hall) == before + 1


@QUICK
@given(data=st.data(), raw=st.binary(max_size=60))
def test_any_bytes_at_any_route_get_a_known_answer(hall: Hall, data: Any, raw: bytes) -> None:
    """Random bytes instead of JSON."""
    method, path = data.draw(st.sampled_from(routes(hall, "POST", "PATCH")))
    known(hall.bot.call(method, path, raw, Idempotency_Key="k"))


@QUICK
@given(data=st.data(), query=QUERIES, piece=st.text(min_size=1, max_size=12))
def test_any_query_and_path_get_a_known_answer(
    hall: Hall, data: Any, query: dict[str, str], piece: str
) -> None:
    """Random filters on every list; random words in place of ids."""
    _, path = data.draw(st.sampled_from(routes(hall, "GET")))
    visitor = data.draw(st.sampled_from([hall.bot, hall.operator]))
    headers = visitor.headers("GET", path)
    known(hall.client.get(path, params=query, headers=headers))
    odd = f"/v1/tasks/{quote(piece, safe='')}"
    known(hall.client.get(odd, headers=visitor.headers("GET", odd)))


@QUICK
@given(
    authorization=st.binary(max_size=40).filter(lambda raw: b"\r" not in raw and b"\n" not in raw),
    dpop=st.binary(max_size=40).filter(lambda raw: b"\r" not in raw and b"\n" not in raw),
)
def test_any_header_of_a_stranger_is_401(hall: Hall, authorization: bytes, dpop: bytes) -> None:
    """Random bytes where proofs belong."""
    headers = [(b"Authorization", b"DPoP " + authorization), (b"DPoP", dpop)]
    answer = hall.client.get("/v1/tasks", headers=headers)
    assert answer.status_code == 401, answer.text


@QUICK
@given(raw=st.binary(max_size=80))
def test_any_form_is_refused_in_rfc_6749_words(hall: Hall, raw: bytes) -> None:
    """Random bytes at the token endpoint."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = hall.client.post("/oauth2/token", content=raw, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]


def newest(hall: Hall) -> int:
    """The number of the newest fact."""
    with hall.stage.broker.store.transaction() as tx:
        found = tx.history(HistoryQuery(limit=1))
    return found[0].number if found else 0
