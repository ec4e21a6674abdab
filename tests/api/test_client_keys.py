"""An agent's own key over HTTP: bound by CI or its owner, and then a client without secrets."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.api.hall import US, Hall, Visitor
from tests.api.test_oauth import ASSERTION, call
from valetkey.testing.issuer import compact, public_jwk

BINDINGS = "/v1/agents/refund-bot/bindings"


def members(key: ECKey) -> dict[str, str]:
    """What is bound of a key."""
    return {name: str(public_jwk(key)[name]) for name in ("kty", "crv", "x", "y")}


def bind(visitor: Visitor, claims: dict[str, str], agent: str = "refund-bot") -> Any:
    """Bind a key."""
    body = {"issuer": "client-key", "claims": claims}
    return visitor.call("POST", f"/v1/agents/{agent}/bindings", body)


def token(hall: Hall, key: ECKey, dpop: ECKey, client: str = "refund-bot", **form: str) -> Any:
    """Ask for a token with a key of the agent's own."""
    now = int(hall.stage.broker.store.now().timestamp())
    said = {"iss": client, "sub": client, "aud": US, "iat": now, "exp": now + 60}
    head = {"typ": "client-authentication+jwt", "alg": "ES256"}
    asked = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": compact(head, {**said, "jti": secrets.token_hex(8)}, key),
    }
    return hall.exchange({**asked, **form}, dpop)


def works(hall: Hall) -> None:
    """From a bound key to a task of the agent's."""
    key, dpop = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    assert token(hall, key, dpop).json()["error"] == "invalid_client"
    assert bind(hall.owner, members(key)).status_code == 201
    answer = token(hall, key, dpop)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    plan = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600}
    started = call(hall, dpop, answer.json()["access_token"], "POST", "/v1/tasks", plan)
    assert started.status_code == 201, started.text


def test_a_key_bound_by_the_owner_is_a_way_in(hall: Hall) -> None:
    """No platform is asked, and no secret is shared."""
    works(hall)


def test_the_same_on_a_real_database(live_hall: Hall) -> None:
    """Agent and key are found by name."""
    works(live_hall)


def test_ci_provisions_an_agent_with_its_key_as_its_rule_allows(hall: Hall) -> None:
    """`may_bind` names client-key as it does an issuer."""
    key = ECKey.generate_key("P-256")
    wanted = {
        "name": "refund-keyed",
        "owner": "olivia@example.com",
        "team": "refunds",
        "boundary": ["orders-db:read"],
        "bindings": [{"issuer": "client-key", "claims": members(key)}],
    }
    assert hall.job.call("POST", "/v1/agents", wanted).status_code == 201
    assert token(hall, key, ECKey.generate_key("P-256"), "refund-keyed").status_code == 200
    taken = bind(hall.owner, members(key))
    assert (taken.status_code, taken.json()["code"]) == (409, "binding_taken")


def misspelt(claims: dict[str, str]) -> dict[str, str]:
    """The same coordinate with a stray bit that decoders overlook."""
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    x = claims["x"]
    return {**claims, "x": x[:-1] + last[last.index(x[-1]) + 1]}


def test_one_key_in_another_spelling_is_no_second_key(hall: Hall) -> None:
    """base64url with stray bits decodes to the same key, and is refused."""
    claims = members(ECKey.generate_key("P-256"))
    raw, other = (base64.urlsafe_b64decode(x + "=") for x in (claims["x"], misspelt(claims)["x"]))
    assert raw == other
    refused = bind(hall.owner, misspelt(claims))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("what", ["private", "short", "of another curve", "a sub", "symmetric"])
def test_only_a_public_key_is_bound(hall: Hall, what: str) -> None:
    """And nothing of what was sent comes back."""
    key = ECKey.generate_key("P-256")
    good = members(key)
    claims = {
        "private": {**good, "d": str(key.as_dict(private=True)["d"])},
        "short": {**good, "x": good["x"][:-4]},
        "of another curve": {**good, "crv": "secp256k1"},
        "a sub": {"sub": "pod"},
        "symmetric": {"kty": "oct", "k": "c2VjcmV0"},
    }
    refused = bind(hall.owner, claims[what])
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert not [
        value for value in claims[what].values() if len(value) > 6 and value in refused.text
    ]


def test_a_key_is_bound_by_nobody_else(hall: Hall) -> None:
    """Another person does not even learn that the agent exists."""
    assert bind(hall.approver, members(ECKey.generate_key("P-256"))).status_code == 404


@pytest.mark.parametrize("grant", ["password", "refresh_token", "authorization_code", "implicit"])
def test_grants_that_hand_secrets_around_are_not_offered(hall: Hall, grant: str) -> None:
    """RFC 6749 section 5.2: unsupported_grant_type; and there is no authorization endpoint."""
    answer = hall.exchange({"grant_type": grant, "username": "u"}, ECKey.generate_key("P-256"))
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert hall.client.get("/oauth2/authorize").status_code == 404


def test_a_shared_secret_in_header_or_form_is_an_invalid_client(hall: Hall) -> None:
    """401, with a challenge where a header was tried (RFC 6749 section 5.2)."""
    key = ECKey.generate_key("P-256")
    assert bind(hall.owner, members(key)).status_code == 201
    form = {"grant_type": "client_credentials"}
    basic = hall.exchange(form, key, Authorization="Basic cmVmdW5kLWJvdDpz")
    assert (basic.status_code, basic.json()["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" in basic.headers
    posted = token(hall, key, key, client_secret="s")
    assert (posted.status_code, posted.json()["error"]) == (401, "invalid_client")


def test_the_metadata_lists_what_there_is(hall: Hall) -> None:
    """Grants and algorithms that a client can choose from."""
    told = hall.client.get("/.well-known/oauth-authorization-server").json()
    assert "client_credentials" in told["grant_types_supported"]
    assert told["token_endpoint_auth_methods_supported"] == ["none", "private_key_jwt"]
    assert "ES256" in told["token_endpoint_auth_signing_alg_values_supported"]
    assert "refresh_token" not in told["grant_types_supported"]
