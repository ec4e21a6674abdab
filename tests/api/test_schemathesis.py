"""Schemathesis 4.32 over the whole OpenAPI document: each answer is one that the document tells.

Every operation, by every kind of caller, with bodies good and bad, and objects that exist. More
with VALETKEY_FUZZ_EXAMPLES.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig as Config
from schemathesis.generation import GenerationMode
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.hall import SCOPE, US, Hall, Visitor
from tests.api.test_oauth import ASSERTION
from valetkey.core.errors import catalogue
from valetkey.testing.issuer import compact
from valetkey.web.app import ROOMS
from valetkey.web.paper import document

EXAMPLES = int(os.environ.get("VALETKEY_FUZZ_EXAMPLES", "6"))
KNOWN = {error.code for error in catalogue()} - {"internal"}
ALWAYS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
REFUSING = {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}}
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def operations() -> list[tuple[str, str, GenerationMode]]:
    """Method and path of everything in the document; badly asked, too, if it is asked anything."""
    app = FastAPI()
    for room in ROOMS:
        app.include_router(room.router)
    return [
        (method, path, mode)
        for path, here in document(app)["paths"].items()
        for method, told in here.items()
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or told.get("parameters") or "requestBody" in told
    ]


class Proof(AuthBase):
    """Signs each request with a DPoP proof of a visitor's."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the two headers, for the path as it is sent."""
        path = request.path_url
        request.headers.update(self.visitor.headers(str(request.method), path))
        return request


@dataclass
class Town:
    """A hall with something in it, the document of its application, and a line to it."""

    hall: Hall
    schema: Any
    line: Any
    known: dict[str, str]

    def proofs(self) -> list[Proof | None]:
        """Of each kind of caller, and of nobody."""
        hall = self.hall
        return [*map(Proof, (hall.bot, hall.owner, hall.operator, hall.job)), None]

    def proven(self) -> dict[str, str]:
        """What gets a resource server past the door of `/oauth2`, once."""
        now = int(self.hall.stage.broker.store.now().timestamp())
        said = {"iss": "orders-api", "sub": "orders-api", "aud": US, "iat": now, "exp": now + 60}
        head = {"typ": "client-authentication+jwt", "alg": "ES256", "kid": "server-1"}
        signed = compact(head, {**said, "jti": secrets.token_hex(8)}, self.hall.server_key)
        return {"client_assertion_type": ASSERTION, "client_assertion": signed}


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """A hall with a task, a lease, a grant that waits, and a kill."""
    with ExitStack() as stack:
        hall = Hall(stack)
        task = hall.bot.start()["id"]
        grant = hall.bot.ask(task, "orders-db:write{region=eu}").json()["grant"]["id"]
        lease = hall.bot.ask(task).json()["lease"]["id"]
        killed = hall.operator.call("POST", "/v1/kill", {"height": "agent", "subject": "nobody"})
        known = {
            "task_id": task,
            "grant_id": grant,
            "lease_id": lease,
            "kill_id": killed.json().get("id", "kill_" + "0" * 26),
            "name": "refund-bot",
            "task": task,
            "scope": SCOPE,
            "scopes": SCOPE,
            "owner": "olivia@example.com",
            "team": "refunds",
            "token": hall.bot.token,
        }
        paper = _signed_by_us(hall.app.openapi())
        schema = schemathesis.openapi.from_dict(paper, config=Config.from_dict(REFUSING))
        line = stack.enter_context(asgi.get_client(hall.app))
        yield Town(hall, schema, line, known)


@pytest.mark.parametrize(("method", "path", "mode"), operations(), ids=str)
def test_an_answer_is_one_that_the_document_tells(
    town: Town, method: str, path: str, mode: GenerationMode
) -> None:
    """Status, media type, headers and body; a refusal is of the catalogue, and none is a defect."""
    operation = town.schema[path][method]

    @QUICK
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def told(case: Any, data: Any) -> None:
        town.line.auth = data.draw(st.sampled_from(town.proofs()))
        if mode is GenerationMode.POSITIVE and data.draw(st.booleans()):
            _know(case, {**town.known, **town.proven()})
        checks = [*ALWAYS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else ALWAYS
        answer = case.call(session=town.line, base_url="http://elsewhere")
        case.validate_response(answer, checks=checks)
        if answer.status_code >= 400:
            assert answer.json()["code"] in KNOWN
            assert answer.json()["next_action"]
        if town.line.auth is None and path.startswith("/v1/"):
            assert answer.status_code == 401

    told()


def _signed_by_us(paper: dict[str, Any]) -> dict[str, Any]:
    """The document without its security: proofs are of the test's making, never left out."""
    paths = {
        path: {method: {**told, "security": []} for method, told in here.items()}
        for path, here in paper["paths"].items()
    }
    components = {name: x for name, x in paper["components"].items() if name != "securitySchemes"}
    return {**paper, "paths": paths, "components": components}


def _know(case: Any, known: dict[str, str]) -> None:
    """Put objects that exist where some are named."""
    for name in (case.path_parameters or {}).keys() & known.keys():
        case.path_parameters[name] = known[name]
    if isinstance(case.body, dict):
        for name in case.body.keys() & known.keys():
            found = known[name]
            case.body[name] = [found] if isinstance(case.body[name], list) else found
