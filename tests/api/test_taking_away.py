"""Our own client against a real server, when its token or its identity is taken away."""

from __future__ import annotations

import pytest

from tests.api.hall import Hall
from tests.api.test_client_keys import BINDINGS
from tests.api.test_sealing_clients import client as client
from tests.api.test_sealing_clients import hall as hall
from valetkey.agentside.client import Valetkey
from valetkey.agentside.wire import Refusal
from valetkey.core.facts import FactKind


def test_a_client_revokes_its_own_token_and_gets_another(client: Valetkey, hall: Hall) -> None:
    """The revoked one is no proof any more; the next call is made with a new one."""
    token = client.session.access_token()
    assert client.session.send("POST", "/oauth2/revoke", form={"token": token}).body == {}
    assert [x for x in hall.facts() if x.fact.kind is FactKind.TOKEN_REVOKED]
    assert client.call("GET", "/v1/tasks").body == {"items": []}
    assert client.session.access_token() != token


def test_an_identity_that_was_taken_away_gets_no_token_any_more(
    client: Valetkey, hall: Hall
) -> None:
    """The token it has is good to its end, and its task goes on; the second time is not found."""
    task = client.start_task("a refund", ["orders-db:read"], 600)
    found = hall.owner.get("/v1/agents/refund-bot")["bindings"]
    (pod,) = (one["id"] for one in found if one["claims"] == {"sub": "pod-one"})
    route = f"{BINDINGS}/{pod}/unbind"
    left = hall.owner.call("POST", route)
    assert (left.status_code, pod in left.text) == (200, False)
    assert client.call("GET", f"/v1/tasks/{task['id']}").body["state"] == "open"
    client.session.forget()
    with pytest.raises(Refusal, match="unknown_agent"):
        client.call("GET", "/v1/tasks")
    assert hall.owner.call("POST", route).json()["code"] == "not_found"
