"""The error table, the OpenAPI document, and that both say the same as the code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.hall import Hall
from valetkey.core import errors
from valetkey.core.errors import BrokerError, catalogue
from valetkey.identity import oauth
from valetkey.web.problems import STATUS, oauth_error, problem

PUBLIC = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/oauth2/token",
    "/oauth2/bc-authorize",
    "/oauth2/introspect",
    "/oauth2/jwks",
    "/oauth2/revoke",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource",
}


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    """The table and the catalogue hold the same classes; no two share a code."""
    assert set(STATUS) == set(catalogue())
    assert len({error.code for error in catalogue()}) == len(catalogue())


@pytest.mark.parametrize("error", catalogue(), ids=lambda error: error.code)
def test_every_problem_has_its_members(error: type[BrokerError]) -> None:
    """type, title, status, code, detail, next_action; more only when it is there."""
    plain = problem(error())
    assert plain.status_code == STATUS[error]
    full = problem(error(retry_after=1.2, decision_id="decision_1", extra={"lease_id": "l"}))
    assert full.headers["Retry-After"] == "2"
    assert b'"decision_id":"decision_1"' in full.body
    assert b'"lease_id":"l"' in full.body
    waits = plain.status_code in {429, 503, 504}
    assert ("retry_after" in json.loads(bytes(plain.body))) == waits
    assert ("Retry-After" in plain.headers) == waits
    assert ("WWW-Authenticate" in plain.headers) == (plain.status_code == 401)


OAUTH = {
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "access_denied",
    "temporarily_unavailable",
}
"""RFC 6749 section 5.2, RFC 9449, and what RFC 6749 section 4.1.2.1 calls our own faults."""


@pytest.mark.parametrize("word", ["invalid_grant", "invalid_client", "invalid_request"])
@pytest.mark.parametrize("error", catalogue(), ids=lambda error: error.code)
def test_every_refusal_is_told_in_words_of_oauth(error: type[BrokerError], word: Any) -> None:
    """A word of the standard, our code beside it, and what to do; 401 for a bad client only."""
    because = oauth.refused(error(), word)
    told = oauth_error(because)
    body = json.loads(bytes(told.body))
    assert body["error"] in OAUTH
    assert (body["code"], body["next_action"]) == (error.code, error.next_action)
    assert body["error_description"]
    if body["error"] == "temporarily_unavailable":
        assert told.status_code in {429, *range(500, 600)}
    else:
        assert told.status_code == (401 if body["error"] == "invalid_client" else 400)
    assert ("Retry-After" in told.headers) == (told.status_code in {429, 503, 504})


def test_extra_members_never_replace_the_problems_own() -> None:
    """What a flow adds stands behind what every problem has."""
    odd = problem(errors.NotFound(extra={"code": "fine", "status": "200"}))
    assert b'"code":"not_found"' in odd.body
    assert b'"status":404' in odd.body


def test_the_document_describes_every_answer_of_every_route(hall: Hall) -> None:
    """Each `/v1` route tells its success with a schema, and refusals as problems; bodies too."""
    document = hall.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert "422" not in responses, path
            if path in PUBLIC:
                continue
            assert "application/problem+json" in responses["4XX"]["content"], path
            good = [status for status in responses if status.startswith("2")]
            for status in good:
                schema = responses[status]["content"]["application/json"]["schema"]
                assert schema["$ref"].rsplit("/", 1)[1] in schemas, (path, status)
            if method in {"post", "patch"}:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                assert body["$ref"].rsplit("/", 1)[1] in schemas, path
            assert operation["security"] == [{"dpop": []}], path


def test_every_reference_in_the_document_leads_somewhere(hall: Hall) -> None:
    """No dangling `$ref`."""
    document = hall.client.get("/openapi.json").json()
    found: list[str] = []
    waiting: list[object] = [document]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += here.values()
            if isinstance(here.get("$ref"), str):
                found.append(here["$ref"])
        elif isinstance(here, list):
            waiting += here
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_no_route_answers_without_a_door(hall: Hall) -> None:
    """Every `/v1` route refuses a stranger with 401, and only the public ones do not."""
    document = hall.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        if path in PUBLIC:
            continue
        for method in operations:
            answer = hall.client.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"].startswith("DPoP "), path


def test_no_route_takes_what_the_framework_would_parse(hall: Hall) -> None:
    """Bodies are read in one place only: no endpoint declares one to the framework."""
    for route in hall.app.routes:
        assert getattr(route, "body_field", None) is None, route
