"""A CIBA client with a key of the agent's own, and the people who decide what it asks for."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import ECKey

from tests.api.hall import SCOPE, US, Hall
from tests.api.test_client_keys import bind, members
from tests.api.test_oauth import ASSERTION, call, now
from valetkey.core.backchannel import CIBA
from valetkey.testing.issuer import compact, dpop_proof

TYPE = "urn:valetkey:authorization:credential"
WRITE = "orders-db:write{region=eu}"
START = "/oauth2/bc-authorize"
TOKEN = "/oauth2/token"


@dataclass
class CibaClient:
    """An agent's own key, which is its DPoP key too, and a task started with it."""

    hall: Hall
    key: ECKey
    task: str

    @classmethod
    def of(cls, hall: Hall, ttl: int = 3600) -> CibaClient:
        """A key that its owner bound, and a task."""
        key = ECKey.generate_key("P-256")
        assert bind(hall.owner, members(key)).status_code == 201
        client = cls(hall, key, "")
        plan = {"purpose": "a refund", "scopes": ["orders-db:read", "orders-db:write"], "ttl": ttl}
        whole = client.whole()
        client.task = str(call(hall, key, whole, "POST", "/v1/tasks", plan).json()["id"])
        return client

    def assertion(self) -> dict[str, str]:
        """What authenticates it (RFC 7523)."""
        at = int(now(self.hall))
        said = {"iss": "refund-bot", "sub": "refund-bot", "aud": US, "iat": at, "exp": at + 60}
        head = {"typ": "client-authentication+jwt", "alg": "ES256"}
        made = compact(head, {**said, "jti": secrets.token_hex(8)}, self.key)
        return {"client_assertion_type": ASSERTION, "client_assertion": made}

    def whole(self) -> str:
        """A token for everything."""
        form = {"grant_type": "client_credentials", **self.assertion()}
        return str(self.hall.exchange(form, self.key).json()["access_token"])

    def send(self, path: str, form: dict[str, str], **headers: str) -> Any:
        """A form with a proof by its key, and what authenticates it unless a header does."""
        said: dict[str, object] = {"htm": "POST", "htu": US + path}
        proof = self.assertion()
        if "Authorization" in headers:
            proof, said["token"] = {}, headers["Authorization"].partition(" ")[2]
        sent = {"DPoP": dpop_proof(self.key, now(self.hall), said), **headers}
        return self.hall.client.post(path, data={**proof, **form}, headers=sent)

    def detail(self, scope: str = WRITE, **changes: object) -> dict[str, object]:
        """One ask."""
        return {"type": TYPE, "task": self.task, "scope": scope, "ttl": 60, **changes}

    def start(self, scope: str = WRITE, **form: str) -> Any:
        """Ask in the back channel."""
        asked = {"authorization_details": json.dumps([self.detail(scope)]), **form}
        return self.send(START, asked)

    def begun(self, scope: str = WRITE, **form: str) -> str:
        """The id of an ask that was taken."""
        answer = self.start(scope, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["auth_req_id"])

    def poll(self, auth_req_id: str, **headers: str) -> Any:
        """Ask what came of it."""
        return self.send(TOKEN, {"grant_type": CIBA, "auth_req_id": auth_req_id}, **headers)

    def error(self, auth_req_id: str) -> tuple[int, str]:
        """The status and word of a poll that gives no token."""
        answer = self.poll(auth_req_id)
        return answer.status_code, answer.json().get("error", "none")

    def collect(self, token: str, grant: str) -> Any:
        """Collect with a token."""
        return call(self.hall, self.key, token, "POST", f"/v1/grants/{grant}/collect")


def grant_of(auth_req_id: str) -> str:
    """The grant that an id is of."""
    return auth_req_id.partition(".")[0]


def approve(hall: Hall, auth_req_id: str) -> dict[str, Any]:
    """Arun says yes to what he was shown; that."""
    grant = hall.approver.get(f"/v1/grants/{grant_of(auth_req_id)}")
    fresh = hall.fresh(hall.approver, grant["fresh_for"])
    path = f"/v1/grants/{grant['id']}/approve"
    answer = fresh.call("POST", path, {"shown_hash": grant["shown_hash"]})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = grant["shown"]
    return shown


__all__ = ["SCOPE", "START", "TOKEN", "WRITE", "CibaClient", "approve", "grant_of"]
