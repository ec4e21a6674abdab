"""The table of refusals, row by row over HTTP: condition, status, word, and the headers with it.

The rows are those of the protocol profile: RFC 6749 section 5.2, RFC 8693 section 2.2.2, RFC 7523
section 3.1, RFC 9396 section 5, RFC 9449 sections 5 to 9, RFC 9470, CIBA Core 1.0 sections 11 and 13
(its `access_denied` at the first endpoint is 400 here, as everywhere below `/oauth2`).

Rows of the profile that this product has not:

- 403 `insufficient_scope` with `scope` and `resource_metadata`: what a caller may do does not follow
  from scopes of its token, so no other scope could be asked for. What a narrowed token may not do is
  403 `outside_token`, and says by `next_action` which token to get.
- `policy-unavailable` and `audit-unavailable` apart: without catalogue or policy it is `not_ready`,
  without the database, in which history is, `store_unavailable`.
- 410 for what was claimed already: it is 409 `already_delivered` or `in_progress`, for a lost answer
  may be asked for again. 400 and 422 are one, `invalid_request`.
- `acr_values` with a login that is not fresh enough: freshness is asked for by `max_age` alone.
- Another tenant's object: there is one tenant; another agent's is below.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.api import trouble
from tests.api.backchannel import CibaClient, grant_of
from tests.api.trouble import Scene, after, asked, exchanged, under
from valetkey.identity.nonces import Nonces

OAUTH = "application/json"
NATIVE = "application/problem+json"
ALGS = 'algs="ES256 EdDSA Ed25519"'
INVALID_TOKEN = f'DPoP error="invalid_token", {ALGS}, resource_metadata='
SOON = {"Retry-After": ""}
"""There, whatever it says."""


@dataclass(frozen=True)
class Row:
    """What is done, and what must come of it. A header of `None` must not be there."""

    status: int
    word: str
    do: Callable[[Scene], Any]
    headers: Mapping[str, str | None] = field(default_factory=dict)
    media: str = OAUTH


NO_CHALLENGE: Mapping[str, str | None] = {"WWW-Authenticate": None}
ROWS: dict[str, Row] = {
    "exchange: a parameter is missing": Row(400, "invalid_request", exchanged(subject_token="")),
    "exchange: a parameter is there twice": Row(400, "invalid_request", trouble.twice),
    "exchange: the subject_token is no good": Row(
        400, "invalid_request", exchanged(subject_token="e30.e30.e30"), NO_CHALLENGE
    ),
    "exchange: the actor_token is no good": Row(
        400,
        "invalid_request",
        exchanged(actor_token="e30.e30.e30", actor_token_type="urn:ietf:params:oauth:token-type:jwt"),
    ),
    "jwt-bearer: the assertion is no good": Row(400, "invalid_grant", trouble.bearer, NO_CHALLENGE),
    "the client did not prove itself": Row(401, "invalid_client", trouble.wrong_assertion, NO_CHALLENGE),
    "the client tried a header": Row(
        401, "invalid_client", trouble.by_basic, {"WWW-Authenticate": INVALID_TOKEN}
    ),
    "a client that may not use this grant": Row(400, "unauthorized_client", trouble.of_a_person),
    "a grant that is not offered": Row(
        400, "unsupported_grant_type", exchanged(grant_type="password")
    ),
    "a scope": Row(400, "invalid_scope", exchanged(scope="orders")),
    "another audience": Row(400, "invalid_target", exchanged(audience="https://elsewhere")),
    "another resource": Row(400, "invalid_target", exchanged(resource="https://elsewhere")),
    "details that are none": Row(
        400, "invalid_authorization_details", exchanged(authorization_details="[]")
    ),
    "details of a scope that there is not": Row(
        400, "invalid_authorization_details", lambda scene: scene.client.start("orders-db:burn")
    ),
    "no DPoP proof at the token endpoint": Row(
        400, "invalid_dpop_proof", trouble.without_proof, NO_CHALLENGE
    ),
    "policy says no": Row(400, "access_denied", after(Scene.policy_says_no, asked())),
    "policy says no, natively": Row(
        403, "denied_by_policy", after(Scene.policy_says_no, Scene.ask), NO_CHALLENGE, NATIVE
    ),
    "a person says no": Row(
        400, "access_denied", lambda scene: scene.client.poll(scene.denied())
    ),
    "a person says no, natively": Row(
        403,
        "denied_by_person",
        lambda scene: scene.native("POST", f"/v1/grants/{grant_of(scene.denied())}/collect"),
        NO_CHALLENGE,
        NATIVE,
    ),
    "a kill is in force": Row(400, "access_denied", after(Scene.killed, asked())),
    "a kill is in force, natively": Row(
        403, "killed", after(Scene.killed, Scene.ask), NO_CHALLENGE, NATIVE
    ),
    "the agent is disabled": Row(
        400,
        "access_denied",
        after(trouble.agent_stops, lambda scene: scene.client.poll("x")),
        NO_CHALLENGE,
    ),
    "people have not decided": Row(
        400,
        "authorization_pending",
        lambda scene: scene.client.poll(scene.waiting()),
        {"Retry-After": "5"},
    ),
    "polled too fast": Row(400, "slow_down", trouble.too_fast, {"Retry-After": "10"}),
    "the time is over": Row(400, "expired_token", trouble.too_late, {"Retry-After": None}),
    "answered before": Row(400, "invalid_grant", trouble.polled_again),
    "a login that is not fresh enough": Row(
        401,
        "fresh_login_required",
        trouble.stale_approval,
        {
            "WWW-Authenticate": 'DPoP error="insufficient_user_authentication", max_age="300", '
            "resource_metadata="
        },
        NATIVE,
    ),
    "no token": Row(
        401, "unauthenticated", under(""), {"WWW-Authenticate": INVALID_TOKEN}, NATIVE
    ),
    "a bound token as a bearer's": Row(
        401, "unauthenticated", under("Bearer"), {"WWW-Authenticate": INVALID_TOKEN}, NATIVE
    ),
    "a token past its end": Row(
        401, "token_expired", trouble.expired, {"WWW-Authenticate": INVALID_TOKEN}, NATIVE
    ),
    "a revoked token": Row(
        401, "token_expired", trouble.revoked, {"WWW-Authenticate": INVALID_TOKEN}, NATIVE
    ),
    "a proof for another address": Row(
        401,
        "invalid_dpop_proof",
        trouble.for_another_url,
        {"WWW-Authenticate": f'DPoP error="invalid_dpop_proof", {ALGS}'},
        NATIVE,
    ),
    "a token for something else": Row(403, "outside_token", trouble.narrowed, NO_CHALLENGE, NATIVE),
    "the database is away": Row(
        503,
        "temporarily_unavailable",
        after(trouble.store_goes, trouble.a_form),
        SOON,
    ),
    "the database is away, natively": Row(
        503, "store_unavailable", after(trouble.store_goes, trouble.a_stranger), SOON, NATIVE
    ),
    "a target is away": Row(
        503, "minter_unavailable", after(trouble.target_goes, Scene.ask), {"Retry-After": "7"}, NATIVE
    ),
    "another agent's object": Row(
        404,
        "not_found",
        lambda scene: scene.hall.bot.call("GET", "/v1/grants/grant_" + "0" * 26),
        NO_CHALLENGE,
        NATIVE,
    ),
}


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A hall of its own for each row."""
    with ExitStack() as stack:
        yield Scene.of(stack)


def check(row: Row, answer: Any) -> None:
    """Status, word, media type, headers; never to be stored, and nothing said in vain."""
    told = answer.json()
    word = told["code"] if row.media == NATIVE else told["error"]
    assert (answer.status_code, word) == (row.status, row.word), answer.text
    assert answer.headers["Content-Type"] == row.media
    assert answer.headers["Cache-Control"] == "no-store"
    assert told["next_action"]
    for name, value in row.headers.items():
        assert (name in answer.headers) == (value is not None), (name, answer.headers)
        assert answer.headers.get(name, "").startswith(value or ""), answer.headers[name]


@pytest.mark.parametrize("name", ROWS)
def test_each_row_of_the_table_is_answered_as_it_says(scene: Scene, name: str) -> None:
    """The surface, the condition, and exactly what comes back."""
    check(ROWS[name], ROWS[name].do(scene))


def test_whoever_is_too_fast_is_told_when_to_come_again(scene: Scene) -> None:
    """429 with Retry-After on either surface, for tokens and for calls."""
    scene.hurried(2)
    answers = [scene.hall.bot.call("POST", "/v1/credentials/explain", {}) for _ in range(3)]
    check(Row(429, "rate_limited", Scene.ask, SOON, NATIVE), answers[-1])
    whole = {"Authorization": f"DPoP {scene.client.whole()}"}
    polls = [scene.client.poll("x", **whole) for _ in range(3)]
    assert polls[0].json()["error"] == "invalid_grant"
    check(Row(429, "temporarily_unavailable", Scene.ask, SOON), polls[-1])


def test_a_nonce_is_asked_for_on_either_surface() -> None:
    """400 below `/oauth2`, 401 with a challenge at `/v1`; the nonce stands in its header."""
    with ExitStack() as stack:
        nonces = Nonces(lambda text: hashlib.sha256(text.encode()).hexdigest())
        scene = Scene.of(stack, nonces=nonces)
        given: dict[str, str | None] = {"DPoP-Nonce": ""}
        check(Row(400, "use_dpop_nonce", Scene.ask, {**given, **NO_CHALLENGE}), scene.exchanged())
        asking = f'DPoP error="use_dpop_nonce", {ALGS}'
        row = Row(401, "use_dpop_nonce", Scene.ask, {**given, "WWW-Authenticate": asking}, NATIVE)
        check(row, scene.hall.bot.call("GET", "/v1/tasks"))


def test_another_agents_object_is_as_if_it_were_not(scene: Scene) -> None:
    """The same body as for an id that there never was, on either surface."""
    theirs = scene.waiting()
    unknown = "grant_" + "0" * 26
    stranger = scene.hall.visitor(replace(scene.hall.stage.bot, agent_id="agent_other"))
    natively = [
        stranger.call("GET", f"/v1/grants/{name}").json() for name in (grant_of(theirs), unknown)
    ]
    assert natively[0] == natively[1]
    second = CibaClient.of(scene.hall)
    polled = [second.poll(name).json() for name in (theirs, theirs.replace(grant_of(theirs), unknown))]
    assert polled[0] == polled[1]
