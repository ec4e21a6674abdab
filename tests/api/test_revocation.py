"""`POST /oauth2/revoke` (RFC 7009): access tokens and credentials, by whom they are, at once."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest

from tests.api.hall import US, Hall, Visitor
from tests.api.test_oauth import ASSERTION, introspected
from valetkey.core.facts import FactKind
from valetkey.core.ids import LeaseId, Mark
from valetkey.identity.minted_tokens import MintedTokens
from valetkey.testing.issuer import compact
from valetkey.web.api import oauth_answers

REVOKE = "/oauth2/revoke"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def revoke(visitor: Visitor, token: str, **more: str) -> Any:
    """Revoke as somebody with a token of ours."""
    headers = visitor.headers("POST", REVOKE)
    return visitor.hall.client.post(REVOKE, data={"token": token, **more}, headers=headers)


def as_server(hall: Hall, token: str) -> Any:
    """Revoke as the registered resource server."""
    now = int(hall.stage.broker.store.now().timestamp())
    said = {"iss": "orders-api", "sub": "orders-api", "aud": US, "iat": now, "exp": now + 60}
    head = {"typ": "client-authentication+jwt", "alg": "ES256", "kid": "server-1"}
    assertion = compact(head, {**said, "jti": secrets.token_hex(8)}, hall.server_key)
    form = {"client_assertion_type": ASSERTION, "client_assertion": assertion, "token": token}
    return hall.client.post(REVOKE, data=form)


def credential(hall: Hall, audience: str = "https://orders") -> tuple[str, str]:
    """A lease of the agent, and a token that is its credential."""
    lease = hall.bot.ask(hall.bot.start()["id"]).json()["lease"]["id"]
    now = int(hall.stage.broker.store.now().timestamp())
    jti = str(Mark.of(hall.stage.broker.installation, "a" * 12, LeaseId(lease)))
    claims = {"iss": US, "aud": audience, "sub": jti, "jti": jti, "iat": now, "exp": now + 300}
    return lease, MintedTokens(US, hall.keys).sign(claims)


def other(hall: Hall) -> Visitor:
    """The same agent with another token and key."""
    return hall.visitor(replace(hall.bot.caller, token_id="other"))


def test_a_revoked_access_token_is_refused_from_then_on(hall: Hall) -> None:
    """By itself or by another token of the same agent; the fact names the token, not its text."""
    second = other(hall)
    answer = revoke(hall.bot, second.token, token_type_hint="access_token")
    assert (answer.status_code, answer.json()) == (200, {})
    refused = second.call("GET", "/v1/tasks")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_expired")
    assert introspected(hall, second.token).json() == {"active": False}
    assert hall.bot.call("GET", "/v1/tasks").status_code == 200
    facts = [x.fact for x in hall.facts() if x.fact.kind is FactKind.TOKEN_REVOKED]
    assert [fact.body["token"] for fact in facts] == ["other"]


def test_a_token_may_revoke_itself_and_is_then_no_proof(hall: Hall) -> None:
    """The second time the client no longer proves itself, and is challenged."""
    assert revoke(hall.bot, hall.bot.token).status_code == 200
    again = revoke(hall.bot, hall.bot.token)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert again.headers["WWW-Authenticate"].startswith('DPoP error="invalid_token"')


def test_revoking_twice_is_one_fact(hall: Hall) -> None:
    """Doing it twice is fine and changes nothing more."""
    second = other(hall)
    assert [revoke(hall.bot, second.token).status_code for _ in range(2)] == [200, 200]
    assert len(hall.facts(kind="TokenRevoked")) == 1


def test_a_revoked_credential_starts_to_end_and_no_more_is_claimed(hall: Hall) -> None:
    """Its state, what its end can prove at best, and until when it may still work."""
    lease, token = credential(hall)
    answer = revoke(hall.bot, token)
    assert answer.status_code == 200, answer.text
    told = oauth_answers.Revoked.model_validate(answer.json())
    assert (told.lease, told.state) == (lease, "ending")
    assert told.still_valid_until is not None
    assert hall.bot.get(f"/v1/leases/{lease}")["reason"] == "revoked"


def test_a_resource_server_revokes_what_is_for_its_audience(hall: Hall) -> None:
    """Its name is in the fact; a credential for another audience stays as it is."""
    mine, token = credential(hall, US)
    assert as_server(hall, token).json()["state"] == "ending"
    [ending] = hall.facts(lease_id=mine, kind="LeaseEnding")
    assert ending.fact.by == "resource-server orders-api"
    theirs, token = credential(hall)
    refused = as_server(hall, token)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert hall.bot.get(f"/v1/leases/{theirs}")["state"] == "active"


def test_anothers_token_is_refused_without_effect(hall: Hall) -> None:
    """A person's access token by an agent, an agent's credential by CI: RFC 7009 section 2.1."""
    lease, token = credential(hall)
    for visitor, anothers in ((hall.bot, hall.owner.token), (hall.job, token)):
        answer = revoke(visitor, anothers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    refused = as_server(hall, hall.bot.token)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert hall.owner.call("GET", "/v1/tasks").status_code == 200
    assert hall.bot.get(f"/v1/leases/{lease}")["state"] == "active"
    assert hall.refusals() == ["not_found", "not_found"]


@pytest.mark.parametrize("what", ["nonsense", "foreign", "over", "of another installation"])
def test_a_token_that_is_none_of_ours_is_answered_with_200(hall: Hall, what: str) -> None:
    """RFC 7009 section 2.2: invalid tokens do not cause an error, and nothing is said of them."""
    now = int(hall.stage.broker.store.now().timestamp())
    signed = MintedTokens(US, hall.keys).sign
    said: dict[str, object] = {"iss": US, "aud": "x", "jti": "x", "exp": now + 60}
    tokens = {
        "nonsense": "nonsense",
        "foreign": hall.issuers["workloads"].sign(now, {"sub": "x", "aud": US}),
        "over": signed({**said, "exp": now - 1}),
        "of another installation": signed({**said, "jti": "vk-zzzzzze1-" + "a" * 12 + "-x"}),
    }
    answer = revoke(hall.bot, tokens[what])
    assert (answer.status_code, answer.json()) == (200, {})
    assert not hall.facts(kind="TokenRevoked")


def test_nobody_revokes_without_a_proof(hall: Hall) -> None:
    """No client, two ways at once, a bad proof: nothing happens."""
    bare = hall.client.post(REVOKE, data={"token": hall.bot.token})
    assert (bare.status_code, bare.json()["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" not in bare.headers
    both = revoke(hall.bot, hall.bot.token, client_assertion="x")
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    none = hall.client.post(REVOKE, content=b"x=1", headers=hall.bot.headers("POST", REVOKE) | FORM)
    assert (none.status_code, none.json()["error"]) == (400, "invalid_request")
    assert hall.bot.call("GET", "/v1/tasks").status_code == 200


def test_a_revocation_holds_at_every_replica_of_a_real_database(live_hall: Hall) -> None:
    """The same on PostgreSQL, where one statement asks for both."""
    second = other(live_hall)
    assert second.call("GET", "/v1/tasks").status_code == 200
    assert revoke(live_hall.bot, second.token).status_code == 200
    assert second.call("GET", "/v1/tasks").json()["code"] == "token_expired"
    assert introspected(live_hall, second.token).json() == {"active": False}
    proof = live_hall.bot.headers("GET", "/v1/tasks")
    codes = [live_hall.client.get("/v1/tasks", headers=proof).status_code for _ in range(2)]
    assert codes == [200, 401]


def test_every_401_says_where_the_metadata_is(hall: Hall) -> None:
    """RFC 9728 section 5.1: a client that knows only `/v1` finds the authorization server."""
    refused = hall.client.get("/v1/tasks")
    there = f"{US}/.well-known/oauth-protected-resource"
    assert f'resource_metadata="{there}"' in refused.headers["WWW-Authenticate"]
    told = hall.client.get("/.well-known/oauth-protected-resource").json()
    assert (told["resource"], told["authorization_servers"]) == (US, [US])
    assert told["dpop_bound_access_tokens_required"] is True
    first, second = (
        hall.client.get(f"/.well-known/{name}").json()
        for name in ("oauth-authorization-server", "openid-configuration")
    )
    assert first == second
    assert first["revocation_endpoint"] == f"{US}{REVOKE}"
