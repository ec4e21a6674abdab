"""`/oauth2/*` over HTTP: real proofs in, our tokens out, refusals in the words of RFC 6749."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.api.hall import GITHUB, SCOPE, US, Hall
from valetkey.core.facts import FactKind
from valetkey.testing.issuer import compact, dpop_proof
from valetkey.web.api import oauth_answers

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CANARY = "canary-77aa"


def now(hall: Hall) -> float:
    """The database's time in seconds."""
    return hall.stage.broker.store.now().timestamp()


def form(token: str, kind: str = JWT, **more: str) -> dict[str, str]:
    """A token exchange form."""
    return {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": kind, **more}


def job(hall: Hall) -> str:
    """A CI job's proof."""
    return hall.issuers["github"].sign(now(hall), {**GITHUB, "sub": "repo", "aud": US})


def pod(hall: Hall) -> str:
    """The proof of the workload that is to be refund-two."""
    return hall.issuers["workloads"].sign(now(hall), {"sub": "pod-two", "aud": US})


def login(hall: Hall) -> str:
    """Olivia's ID token."""
    said = {
        "sub": "olivia",
        "aud": "valetkey-cli",
        "auth_time": int(now(hall)) - 5,
        "email": "olivia@example.com",
        "email_verified": True,
        "groups": ["approvers"],
    }
    return hall.issuers["people"].sign(now(hall), said)


def call(hall: Hall, key: ECKey, token: str, method: str, path: str, body: object = None) -> Any:
    """One call with a token that was really exchanged."""
    said = {"htm": method, "htu": US + path, "token": token}
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": dpop_proof(key, now(hall), said),
        "Idempotency-Key": secrets.token_hex(4),
    }
    return hall.client.request(method, path, json=body, headers=headers)


def entered(hall: Hall, proof: str, kind: str = JWT) -> Any:
    """A key, and a function that calls with a token exchanged for this proof."""
    key = ECKey.generate_key("P-256")
    answer = hall.exchange(form(proof, kind), key)
    assert answer.status_code == 200, answer.text
    told = oauth_answers.TokenAnswer.model_validate(answer.json())
    assert told.token_type == "DPoP"
    assert 0 < told.expires_in <= 300
    assert answer.headers["Cache-Control"] == "no-store"
    return lambda *args: call(hall, key, told.access_token, *args)


def test_from_three_proofs_of_identity_to_a_credential(hall: Hall) -> None:
    """CI provisions an agent, its owner accepts, the workload asks: each by its own real proof."""
    ci, olivia = entered(hall, job(hall)), entered(hall, login(hall), ID_TOKEN)
    wanted = {
        "name": "refund-two",
        "owner": "olivia@example.com",
        "team": "refunds",
        "boundary": ["orders-db:read"],
        "bindings": [{"issuer": "workloads", "claims": {"sub": "pod-two"}}],
    }
    assert ci("POST", "/v1/agents", wanted).status_code == 201
    bot = entered(hall, pod(hall))
    task = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600}
    early = bot("POST", "/v1/tasks", task)
    assert early.json()["code"] == "agent_not_accepted"
    assert olivia("POST", "/v1/agents/refund-two/accept").status_code == 200
    started = bot("POST", "/v1/tasks", task).json()
    ask = {"task": started["id"], "scope": SCOPE, "ttl": 60}
    issued = bot("POST", "/v1/credentials", ask)
    assert issued.status_code == 201, issued.text
    assert issued.json()["lease"]["owner"] == "olivia@example.com"


BAD_FORMS: dict[str, tuple[str, int, dict[str, str]]] = {
    "no grant type": ("invalid_request", 400, {"grant_type": ""}),
    "another grant type": ("unsupported_grant_type", 400, {"grant_type": "password"}),
    "no token": ("invalid_request", 400, {"subject_token": ""}),
    "no JWT": ("invalid_request", 400, {"subject_token": CANARY}),
    "an actor": ("invalid_request", 400, {"actor_token": CANARY}),
    "a scope": ("invalid_scope", 400, {"scope": CANARY}),
    "another audience": ("invalid_target", 400, {"audience": CANARY}),
}


@pytest.mark.parametrize("what", BAD_FORMS)
def test_a_bad_exchange_is_refused_in_rfc_6749_words(hall: Hall, what: str) -> None:
    """The error and status of the profile; our code beside it; nothing echoed; not to be stored."""
    error, status, changes = BAD_FORMS[what]
    answer = hall.exchange({**form(pod(hall)), **changes}, ECKey.generate_key("P-256"))
    assert (answer.json()["error"], answer.status_code) == (error, status), answer.text
    oauth_answers.OAuthError.model_validate(answer.json())
    assert CANARY not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "type" not in answer.json()


def test_a_doubled_parameter_is_refused(hall: Hall) -> None:
    """RFC 6749 section 3.2: parameters must not be included more than once."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for raw in (b"grant_type=a&grant_type=a", b"%ff=1", b"a", b"\xff", b"&".join([b"a=1"] * 99)):
        answer = hall.client.post("/oauth2/token", content=raw, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), raw


def test_a_form_of_another_media_type_or_size_is_refused(hall: Hall) -> None:
    """JSON is not a form; more than the limit is not read."""
    answer = hall.client.post("/oauth2/token", json=form("x"))
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    answer = hall.client.post("/oauth2/token", data={"x": "a" * 70_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.json()["error"] == "invalid_request"


def test_a_missing_dpop_proof_has_its_own_word(hall: Hall) -> None:
    """RFC 9449 section 5: invalid_dpop_proof."""
    answer = hall.client.post("/oauth2/token", data=form(pod(hall)))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


def test_an_unbound_identity_is_counted_and_one_fact_a_minute(hall: Hall) -> None:
    """Refused five times: five in the metric, one Knocked fact naming the issuer's record."""
    for _ in range(5):
        answer = hall.exchange(form(pod(hall)), ECKey.generate_key("P-256"))
        assert answer.json()["code"] == "unknown_agent"
    knocks = [entry.fact for entry in hall.facts(kind="Knocked")]
    assert [fact.body["issuer"] for fact in knocks] == ["workloads"]
    assert 'valetkey_knocks_total{code="unknown_agent"} 5.0' in hall.client.get("/metrics").text


def test_strangers_at_v1_are_one_fact_for_source_and_minute(hall: Hall) -> None:
    """A hundred knocks leave one fact, and another a minute later by the database's clock."""
    for _ in range(100):
        assert hall.client.get("/v1/tasks").status_code == 401
    assert len(hall.facts()) == 1
    fact = hall.facts()[0].fact
    assert (fact.kind, fact.by, fact.outcome) == (FactKind.KNOCKED, "unknown", "unauthenticated")
    assert 'valetkey_knocks_total{code="unauthenticated"} 100.0' in hall.client.get("/metrics").text


def introspected(hall: Hall, token: str, **claims: object) -> Any:
    """Ask about a token as the registered resource server, the assertion changed by `claims`."""
    said = {
        "iss": "orders-api",
        "sub": "orders-api",
        "aud": US,
        "iat": int(now(hall)),
        "exp": int(now(hall)) + 60,
        "jti": secrets.token_hex(8),
        **claims,
    }
    head = {"typ": "client-authentication+jwt", "alg": "ES256", "kid": "server-1"}
    data = {
        "token": token,
        "client_assertion_type": ASSERTION,
        "client_assertion": compact(head, said, hall.server_key),
    }
    return hall.client.post("/oauth2/introspect", data=data)


def test_a_registered_resource_server_may_introspect(hall: Hall) -> None:
    """Active with its key for a token of ours, inactive for anything else."""
    answer = introspected(hall, hall.bot.token)
    assert answer.status_code == 200, answer.text
    assert answer.json()["active"] is True
    assert answer.json()["cnf"] == {"jkt": hall.bot.caller.jkt}
    assert introspected(hall, CANARY).json() == {"active": False}


def test_anybody_else_may_not_introspect(hall: Hall) -> None:
    """401 invalid_client, without a challenge: no header authentication was tried."""
    answer = introspected(hall, hall.bot.token, aud="https://elsewhere")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    bare = hall.client.post("/oauth2/introspect", data={"token": hall.bot.token})
    assert (bare.status_code, bare.json()["error"]) == (401, "invalid_client")


def test_metadata_and_keys_are_public(hall: Hall) -> None:
    """RFC 8414 with where people log in; RFC 7517 without a private member."""
    told = hall.client.get("/.well-known/oauth-authorization-server").json()
    assert told["issuer"] == US
    assert told["token_endpoint"] == f"{US}/oauth2/token"
    login_at = {"issuer": hall.issuers["people"].url, "client_id": "valetkey-cli"}
    assert told["valetkey_login"] == login_at
    keys = hall.client.get("/oauth2/jwks").json()["keys"]
    assert keys
    assert all("d" not in key for key in keys)
