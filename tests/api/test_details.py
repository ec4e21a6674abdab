"""Rich authorization requests (RFC 9396): a token for certain asks, and for nothing else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.api.hall import SCOPE, Hall
from tests.api.test_client_keys import bind, members, token
from tests.api.test_oauth import ID_TOKEN, call, form, introspected, job, login
from valetkey.web.api import oauth_answers

TYPE = "urn:valetkey:authorization:credential"
Narrowed = Callable[..., Any]


def detail(task: str, **changes: object) -> dict[str, object]:
    """One ask as an authorization detail."""
    return {"type": TYPE, "task": task, "scope": SCOPE, "ttl": 60, **changes}


def asked(hall: Hall, details: object, key: ECKey) -> Any:
    """Ask for a narrowed token with a key bound to the agent."""
    raw = details if isinstance(details, str) else json.dumps(details)
    return token(hall, key, key, authorization_details=raw)


@pytest.fixture
def key(hall: Hall) -> ECKey:
    """A key of the agent's own, which is its DPoP key too."""
    made = ECKey.generate_key("P-256")
    assert bind(hall.owner, members(made)).status_code == 201
    return made


@pytest.fixture
def task(hall: Hall, key: ECKey) -> str:
    """A task of the agent with this key, started with a whole token."""
    whole = token(hall, key, key).json()["access_token"]
    plan = {"purpose": "a refund", "scopes": ["orders-db:read", "orders-db:write"], "ttl": 600}
    return str(call(hall, key, whole, "POST", "/v1/tasks", plan).json()["id"])


@pytest.fixture
def narrowed(hall: Hall, key: ECKey, task: str) -> Narrowed:
    """Calls with a token for one ask of one minute."""
    answer = asked(hall, [detail(task)], key)
    assert answer.status_code == 200, answer.text
    told = oauth_answers.TokenAnswer.model_validate(answer.json())
    assert told.authorization_details == [detail(task)]
    assert introspected(hall, told.access_token).json()["authorization_details"] == [detail(task)]
    return lambda *args: call(hall, key, told.access_token, *args)


def ask(task: str, **changes: object) -> dict[str, object]:
    """The ask of the detail."""
    return {"task": task, "scope": SCOPE, "ttl": 60, **changes}


def test_a_narrowed_token_gets_what_it_was_given_for(narrowed: Narrowed, task: str) -> None:
    """The ask, or a shorter one; and it may look at what it has and end it."""
    issued = narrowed("POST", "/v1/credentials", ask(task))
    assert issued.status_code == 201, issued.text
    assert narrowed("POST", "/v1/credentials", ask(task, ttl=30)).status_code == 201
    assert narrowed("POST", "/v1/credentials/explain", ask(task)).status_code == 200
    lease = f"/v1/leases/{issued.json()['lease']['id']}"
    assert narrowed("GET", lease).status_code == 200
    assert narrowed("POST", f"{lease}/revoke").status_code == 202
    assert narrowed("POST", f"/v1/tasks/{task}/end").status_code in (200, 202)


WIDER: dict[str, dict[str, object]] = {
    "longer": {"ttl": 61},
    "renewed for longer": {"renewable_for": 120},
    "another action": {"scope": "orders-db:write{region=eu}"},
    "another value": {"scope": "orders-db:read{region=us}"},
    "without the parameter": {"scope": "orders-db:read"},
    "another task": {"task": "task_" + "0" * 26},
}


@pytest.mark.parametrize("what", WIDER)
@pytest.mark.parametrize("path", ["/v1/credentials", "/v1/credentials/explain"])
def test_an_ask_outside_the_token_is_refused_and_on_record(
    hall: Hall, narrowed: Narrowed, task: str, what: str, path: str
) -> None:
    """Though the task, the agent and policy would allow it."""
    refused = narrowed("POST", path, {**ask(task), **WIDER[what]})
    assert (refused.status_code, refused.json()["code"]) == (403, "outside_token"), refused.text
    assert hall.refusals()[-1] == "outside_token"


def test_a_narrowed_token_opens_no_task(narrowed: Narrowed, task: str) -> None:
    """Neither one of its own nor one under it, nor takes one."""
    plan = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 60}
    for path, body in (
        ("/v1/tasks", plan),
        ("/v1/tasks", {**plan, "parent": task}),
        (f"/v1/tasks/{task}/take", None),
    ):
        refused = narrowed("POST", path, body)
        assert refused.json()["code"] == "outside_token", refused.text


def test_what_was_granted_widely_is_not_collected_or_renewed_with_less(
    hall: Hall, key: ECKey, task: str, narrowed: Narrowed
) -> None:
    """The same key with a whole token asked for more; the narrowed one does not get it."""
    whole = token(hall, key, key).json()["access_token"]
    body = ask(task, ttl=120, renewable_for=300)
    issued = call(hall, key, whole, "POST", "/v1/credentials", body).json()
    lease = issued["lease"]["id"]
    assert narrowed("POST", f"/v1/leases/{lease}/renew").json()["code"] == "outside_token"
    grant = issued["lease"]["grant"]
    assert narrowed("POST", f"/v1/grants/{grant}/collect").json()["code"] == "outside_token"


def test_ten_asks_at_most_each_good_by_itself(hall: Hall, key: ECKey, task: str) -> None:
    """Several details are so many asks, not one wide one."""
    write = detail(task, scope="orders-db:write{region=eu}", ttl=30)
    got = asked(hall, [detail(task), write], key).json()["access_token"]
    wide = ask(task, scope="orders-db:write{region=eu}", ttl=60)
    assert call(hall, key, got, "POST", "/v1/credentials", wide).json()["code"] == "outside_token"
    assert asked(hall, [detail(task)] * 10, key).status_code == 200
    assert asked(hall, [detail(task)] * 11, key).status_code == 400


T = "task_" + "0" * 26
BAD: dict[str, object] = {
    "no JSON": "{",
    "an object": detail(T),
    "no detail": [],
    "a text": ["x"],
    "no type": [{key: value for key, value in detail(T).items() if key != "type"}],
    "another type": [detail(T, type="urn:other")],
    "one more member": [detail(T, actions=["read"])],
    "no task": [detail("")],
    "a task of another spelling": [detail("task_../x")],
    "no scope": [detail(T, scope="orders-db")],
    "a scope with a wildcard": [detail(T, scope="orders-db:*")],
    "a ttl as text": [detail(T, ttl="60")],
    "a ttl with a point": json.dumps([detail(T, ttl=60.0)]),
    "a ttl that is true": [detail(T, ttl=True)],
    "no time": [detail(T, ttl=0)],
    "too long": [detail(T, ttl=43201)],
    "not a number": json.dumps([detail(T, ttl=float("nan"))]),
    "a member twice": json.dumps([detail(T)]).replace("{", '{"ttl": 1, ', 1),
    "more than the array": '[], "more": []',
    "an array twice": '[], "array": []',
    "more than fits a token": json.dumps([detail(T)]) + " " * 5000,
    "other letters": [detail(T, scope="órders:read")],
}


@pytest.mark.parametrize("what", BAD)
def test_bad_details_have_their_own_word(hall: Hall, key: ECKey, what: str) -> None:
    """invalid_authorization_details (RFC 9396 section 5), and nothing is given or echoed."""
    refused = asked(hall, BAD[what], key)
    told = (refused.status_code, refused.json()["error"])
    assert told == (400, "invalid_authorization_details"), refused.text
    assert "orders-db" not in refused.text


def test_details_are_for_agents(hall: Hall) -> None:
    """People and jobs do not ask for credentials; a scope beside them is refused as ever."""
    details = json.dumps([detail(T)])
    for proof, kind in ((login(hall), ID_TOKEN), (job(hall), form("")["subject_token_type"])):
        refused = hall.exchange(
            form(proof, kind, authorization_details=details), ECKey.generate_key("P-256")
        )
        assert refused.json()["error"] == "invalid_authorization_details"
    both = hall.exchange(
        form("x", authorization_details=details, scope=secrets.token_hex(2)),
        ECKey.generate_key("P-256"),
    )
    assert both.json()["error"] == "invalid_scope"


def test_the_metadata_names_the_type(hall: Hall) -> None:
    """RFC 9396 section 10."""
    told = hall.client.get("/.well-known/oauth-authorization-server").json()
    assert told["authorization_details_types_supported"] == [TYPE]
