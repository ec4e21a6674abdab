"""CIBA in poll mode over HTTP: an ask like any other, decided by people, collected once."""

from __future__ import annotations

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.api.backchannel import SCOPE, START, CibaClient, approve, grant_of
from tests.api.hall import Hall
from tests.api.test_oauth import call, introspected
from valetkey.core.decision import Outcome
from valetkey.core.facts import FactKind
from valetkey.web.api import oauth_answers

SECOND = timedelta(seconds=1)


@pytest.fixture
def client(hall: Hall) -> CibaClient:
    """A client of the hall on memory."""
    return CibaClient.of(hall)


def journey(client: CibaClient) -> None:
    """Ask, wait, be approved, poll, collect, once."""
    hall = client.hall
    started = client.start(binding_message="refund 4711", login_hint="Olivia@Example.com")
    assert started.status_code == 200, started.text
    told = oauth_answers.BackchannelAnswer.model_validate(started.json())
    assert (told.interval, 0 < told.expires_in <= 900) == (5, True)
    assert started.headers["Cache-Control"] == "no-store"
    shown = approve(hall, told.auth_req_id)
    assert shown["untrusted_reason"] == "refund 4711"
    given = client.poll(told.auth_req_id)
    assert given.status_code == 200, given.text
    answer = oauth_answers.TokenAnswer.model_validate(given.json())
    grant = grant_of(told.auth_req_id)
    assert answer.authorization_details == [{**client.detail(), "grant": grant}]
    collected = client.collect(answer.access_token, grant)
    assert collected.status_code == 201, collected.text
    assert collected.json()["lease"]["grant"] == grant
    assert client.collect(answer.access_token, grant).json()["code"] == "in_progress"
    assert [entry.fact.grant_id for entry in hall.facts(kind="TokenExchanged")].count(grant) == 1


def test_from_an_ask_to_a_credential(client: CibaClient) -> None:
    """The token is for exactly what was granted, and the secret comes by collecting."""
    journey(client)


def test_the_same_on_a_real_database(live_hall: Hall) -> None:
    """Intervals, grants and history are rows."""
    client = CibaClient.of(live_hall)
    journey(client)
    auth_req_id = client.begun()
    assert client.error(f"{auth_req_id}\x00") == (400, "invalid_grant")
    assert client.error(auth_req_id) == (400, "authorization_pending")
    slow = client.poll(auth_req_id)
    assert (slow.json()["error"], slow.headers["Retry-After"]) == ("slow_down", "10")


def test_what_is_allowed_at_once_is_minted_only_when_it_is_collected(
    hall: Hall, client: CibaClient
) -> None:
    """The first poll gives the token; nothing exists outside until then."""
    auth_req_id = client.begun(SCOPE)
    assert len(hall.stage.minter.secrets_made) == 0
    token = client.poll(auth_req_id).json()["access_token"]
    assert len(hall.stage.minter.secrets_made) == 0
    assert client.collect(token, grant_of(auth_req_id)).status_code == 201
    assert len(hall.stage.minter.secrets_made) == 1
    assert [entry.fact.outcome for entry in hall.facts(kind="AskAllowed")] == ["allow"]


def test_a_token_for_a_grant_is_for_that_grant_alone(hall: Hall, client: CibaClient) -> None:
    """The very same ask anew, another grant, a task, another back-channel ask: all outside."""
    ids = [client.begun(SCOPE), client.begun(SCOPE)]
    token = client.poll(ids[0]).json()["access_token"]
    asked = {"task": client.task, "scope": SCOPE, "ttl": 60}
    plan = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 60}
    for path, body in (
        ("/v1/credentials", asked),
        ("/v1/credentials/explain", asked),
        ("/v1/tasks", plan),
        (f"/v1/grants/{grant_of(ids[1])}/collect", None),
    ):
        refused = call(hall, client.key, token, "POST", path, body)
        assert refused.json()["code"] == "outside_token", path
    details = json.dumps([client.detail(SCOPE)])
    header = {"Authorization": f"DPoP {token}"}
    again = client.send(START, {"authorization_details": details}, **header)
    assert (again.status_code, again.json()["code"]) == (400, "outside_token")
    assert client.poll(ids[1], **header).json()["code"] == "outside_token"
    assert introspected(hall, token).json()["authorization_details"][0]["grant"] == grant_of(ids[0])


def test_each_poll_that_comes_too_soon_makes_the_interval_longer(
    hall: Hall, client: CibaClient
) -> None:
    """Five seconds more each time, for this ask and no other; waiting as told is enough."""
    auth_req_id, other = client.begun(), client.begun()
    assert client.error(auth_req_id) == (400, "authorization_pending")
    for wait in ("10", "15"):
        slow = client.poll(auth_req_id)
        assert (slow.status_code, slow.json()["error"]) == (400, "slow_down")
        assert slow.headers["Retry-After"] == wait
    assert client.error(other) == (400, "authorization_pending")
    hall.stage.memory.time += 14 * SECOND
    assert client.error(auth_req_id) == (400, "slow_down")
    hall.stage.memory.time += 20 * SECOND
    pending = client.poll(auth_req_id)
    assert (pending.json()["error"], pending.headers["Retry-After"]) == (
        "authorization_pending",
        "20",
    )
    assert hall.refusals() == ["rate_limited"] * 3


def test_polls_at_once_get_one_token(live_hall: Hall) -> None:
    """Whichever replica they reach: one is answered, the others are too fast."""
    client = CibaClient.of(live_hall)
    auth_req_id = client.begun(SCOPE)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: client.poll(auth_req_id).json(), range(4)))
    assert sorted(answer.get("error", "token") for answer in answers) == ["slow_down"] * 3 + [
        "token"
    ]


def test_an_answer_is_given_once(hall: Hall, client: CibaClient) -> None:
    """Polled again, or collected in another way before: there is nothing more to be had."""
    auth_req_id, native = client.begun(SCOPE), client.begun(SCOPE)
    assert client.poll(auth_req_id).status_code == 200
    assert client.collect(client.whole(), grant_of(native)).status_code == 201
    hall.stage.memory.time += 6 * SECOND
    assert client.error(auth_req_id) == (400, "invalid_grant")
    assert client.error(native) == (400, "invalid_grant")


def test_an_answer_is_not_used_up_by_a_proof_that_is_nearly_over(
    hall: Hall, client: CibaClient
) -> None:
    """A token could not be collected with in the seconds that are left; another proof gets it."""
    token, auth_req_id = client.whole(), client.begun(SCOPE)
    hall.stage.memory.time += 292 * SECOND
    late = client.poll(auth_req_id, Authorization=f"DPoP {token}")
    assert (late.status_code, late.json()["error"]) == (401, "invalid_client")
    hall.stage.memory.time += 6 * SECOND
    assert client.poll(auth_req_id).status_code == 200


def test_people_have_as_long_as_was_asked_for_and_no_longer(
    hall: Hall, client: CibaClient
) -> None:
    """`requested_expiry` only shortens; 900 seconds are the most, also where grants wait longer."""
    limits = replace(hall.stage.broker.limits, approval_wait=timedelta(hours=2))
    object.__setattr__(hall.stage.broker, "limits", limits)
    assert client.start(requested_expiry="999999999").json()["expires_in"] == 900
    short = client.start(requested_expiry="30").json()
    assert short["expires_in"] == 30
    hall.stage.memory.time += 31 * SECOND
    assert client.error(short["auth_req_id"]) == (400, "expired_token")


def test_what_is_taken_back_or_ended_meanwhile_is_refused(hall: Hall, client: CibaClient) -> None:
    """A person's no, a withdrawal, a kill and the end of the task, each after it was asked."""
    denied, withdrawn, killed = client.begun(), client.begun(), client.begun(SCOPE)
    deny = f"/v1/grants/{grant_of(denied)}/deny"
    assert hall.approver.call("POST", deny).status_code == 200
    assert client.error(denied) == (400, "access_denied")
    path = f"/v1/grants/{grant_of(withdrawn)}/withdraw"
    assert call(hall, client.key, client.whole(), "POST", path).status_code == 200
    assert client.error(withdrawn) == (400, "invalid_grant")
    order = {"height": "target", "subject": "orders-db", "reason": "a test"}
    assert hall.operator.call("POST", "/v1/kill", order).status_code in (200, 202)
    assert client.error(killed) == (400, "access_denied")
    hall.stage.memory.time += 6 * SECOND
    end = f"/v1/tasks/{client.task}/end"
    call(hall, client.key, client.whole(), "POST", end)
    assert client.error(killed) == (400, "access_denied")


def test_policy_is_asked_again_when_it_is_collected(hall: Hall, client: CibaClient) -> None:
    """What was allowed at once waits for people by now: the token is worth nothing."""
    auth_req_id = client.begun(SCOPE)
    token = client.poll(auth_req_id).json()["access_token"]
    hall.stage.policy.outcomes["read"] = Outcome.NEEDS_APPROVAL
    assert client.collect(token, grant_of(auth_req_id)).json()["code"] == "approval_void"
    assert len(hall.stage.minter.secrets_made) == 0


def keyed(part: str) -> str:
    """Fingerprints as they are made in earnest: named, and keyed."""
    return f"0123abcd:{hmac.new(b'key', part.encode(), hashlib.sha256).hexdigest()}"


def test_an_id_is_of_its_client_and_key_and_cannot_be_made_up(hall: Hall) -> None:
    """Another agent's, another key's, a changed one, the bare grant: all as if there were none."""
    object.__setattr__(hall.stage.broker, "fingerprint", keyed)
    client, other = CibaClient.of(hall), CibaClient.of(hall)
    auth_req_id = client.begun()
    assert len(auth_req_id.rpartition(".")[2]) * 4 >= 128
    last = "0" if auth_req_id[-1] != "0" else "1"
    strange = [
        grant_of(auth_req_id),
        f"{grant_of(auth_req_id)}.",
        auth_req_id[:-1] + last,
        auth_req_id.upper(),
        f"{auth_req_id} ",
        "grant_" + "0" * 26 + auth_req_id[32:],
        "x" * 4000,
        "é",
    ]
    bodies = [client.poll(one).json() for one in strange]
    bodies.append(other.poll(auth_req_id).json())
    assert {json.dumps(body) for body in bodies} == {json.dumps(bodies[0])}
    assert bodies[0]["error"] == "invalid_grant"
    rotated = replace_key(hall)
    assert client.error(auth_req_id) == (400, "authorization_pending")
    assert rotated(auth_req_id) != auth_req_id


def replace_key(hall: Hall) -> Any:
    """A new fingerprint key, the old one kept."""
    old = hall.stage.broker.fingerprint
    object.__setattr__(hall.stage.broker, "older_fingerprints", (old,))
    newer = lambda part: keyed(f"new {part}")  # noqa: E731 - a function of the test
    object.__setattr__(hall.stage.broker, "fingerprint", newer)
    return newer


def test_a_workload_asks_with_the_token_that_its_platforms_proof_was_exchanged_for(
    hall: Hall, client: CibaClient
) -> None:
    """Platforms' proofs are good once; the token is shown with a proof for each poll."""
    whole = {"Authorization": f"DPoP {client.whole()}"}
    details = json.dumps([client.detail(SCOPE)])
    started = client.send(START, {"authorization_details": details}, **whole)
    assert started.status_code == 200, started.text
    assert client.poll(started.json()["auth_req_id"], **whole).status_code == 200
    doubled = {**client.assertion(), "authorization_details": details}
    assert client.send(START, doubled, **whole).json()["error"] == "invalid_request"


def test_people_and_jobs_ask_for_nothing(hall: Hall, client: CibaClient) -> None:
    """They hold tokens of ours, and are no client of this grant."""
    for visitor in (hall.owner, hall.job):
        form = {"authorization_details": json.dumps([client.detail()])}
        answer = hall.client.post(START, data=form, headers=visitor.headers("POST", START))
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


BAD: dict[str, tuple[str, dict[str, str]]] = {
    "no details": ("invalid_authorization_details", {"authorization_details": ""}),
    "no JSON": ("invalid_authorization_details", {"authorization_details": "{"}),
    "another's task": ("invalid_authorization_details", {"task": "task_" + "0" * 26}),
    "no such scope": ("invalid_authorization_details", {"scope_asked": "orders-db:burn"}),
    "a grant of its own": ("invalid_authorization_details", {"grant": "grant_" + "0" * 26}),
    "what policy denies": ("access_denied", {"scope_asked": "orders-db:drop{region=eu}"}),
    "a scope": ("invalid_scope", {"scope": "openid"}),
    "another audience": ("invalid_target", {"resource": "https://elsewhere.example.com"}),
    "a secret": ("invalid_client", {"client_secret": "hunter2"}),
    "a signed request": ("invalid_request", {"request": "e30.e30.e30"}),
    "a callback": ("invalid_request", {"client_notification_token": "t"}),
    "another hint": ("invalid_request", {"id_token_hint": "e30.e30.e30"}),
    "a user code": ("invalid_request", {"user_code": "1234"}),
    "somebody else": ("unknown_user_id", {"login_hint": "mallory@example.com"}),
    "a hint of control characters": ("unknown_user_id", {"login_hint": "olivia@example.com\n"}),
    "a long message": ("invalid_binding_message", {"binding_message": "a" * 101}),
    "a message that turns round": ("invalid_binding_message", {"binding_message": "a\u202eb"}),
    "a message of two lines": ("invalid_binding_message", {"binding_message": "a\nb"}),
    "a message in another form": ("invalid_binding_message", {"binding_message": "e\u0301"}),
    "no expiry": ("invalid_request", {"requested_expiry": "0"}),
    "half an expiry": ("invalid_request", {"requested_expiry": "1.5"}),
    "an expiry in other digits": ("invalid_request", {"requested_expiry": "\u0661\u0662"}),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_ask_is_refused_in_its_word(hall: Hall, client: CibaClient, what: str) -> None:
    """Nothing waits for anybody, nothing of it is echoed."""
    error, form = BAD[what]
    changes: dict[str, object] = {
        name: form[name] for name in ("task", "grant") if name in form
    } | ({"scope": form["scope_asked"]} if "scope_asked" in form else {})
    details = json.dumps([client.detail(**changes)])  # type: ignore[arg-type]
    rest = {k: v for k, v in form.items() if k not in ("task", "grant", "scope_asked")}
    answer = client.send(START, {"authorization_details": details, **rest})
    assert answer.json()["error"] == error, answer.text
    assert answer.status_code == (401 if error == "invalid_client" else 400)
    oauth_answers.OAuthError.model_validate(answer.json())
    for value in rest.values():
        assert len(value) < 4 or value not in answer.json()["error_description"]
    assert call(hall, client.key, client.whole(), "GET", "/v1/grants?state=waiting").json() == {
        "items": []
    }


def test_two_asks_at_once_are_refused(client: CibaClient) -> None:
    """Exactly one: people say yes to one thing."""
    two = json.dumps([client.detail(), client.detail(SCOPE)])
    answer = client.send(START, {"authorization_details": two})
    assert answer.json()["error"] == "invalid_authorization_details"


def test_every_proof_is_taken_once(hall: Hall, client: CibaClient) -> None:
    """The assertion and the DPoP proof of an ask, sent again, open nothing."""
    auth_req_id = client.begun()
    assertion = client.assertion()
    form = {"authorization_details": json.dumps([client.detail()]), **assertion}
    assert client.send(START, form).status_code == 200
    assert client.send(START, form).json()["code"] == "proof_replayed"
    stolen = CibaClient(hall, ECKey.generate_key("P-256"), client.task)
    answer = stolen.poll(auth_req_id)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_waiting_leaves_no_fact_and_every_refusal_one(hall: Hall, client: CibaClient) -> None:
    """A poll that finds nothing new is no more a fact than a look at the grant is."""
    auth_req_id = client.begun()
    before = len(hall.facts())
    assert client.error(auth_req_id) == (400, "authorization_pending")
    assert len(hall.facts()) == before
    assert client.error("x") == (400, "invalid_grant")
    assert hall.facts()[-1].fact.kind is FactKind.REQUEST_REFUSED
    assert hall.facts()[-1].fact.outcome == "not_found"
    hall.stage.policy.outcomes["write"] = Outcome.DENY
    assert client.start().json()["error"] == "access_denied"
    assert hall.facts()[-1].fact.kind is FactKind.ASK_DENIED


def test_the_metadata_says_what_there_is(hall: Hall) -> None:
    """The endpoint, the one mode, and the grant (CIBA Core 1.0 section 4)."""
    told = hall.client.get("/.well-known/oauth-authorization-server").json()
    assert told["backchannel_authentication_endpoint"].endswith(START)
    assert told["backchannel_token_delivery_modes_supported"] == ["poll"]
    assert told["backchannel_user_code_parameter_supported"] is False
    assert "urn:openid:params:grant-type:ciba" in told["grant_types_supported"]
