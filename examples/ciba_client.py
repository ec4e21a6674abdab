"""Ask people first, as OAuth knows it (CIBA, poll mode): PyJWT and the standard library.

    valetkey agent bind refund-bot --key-file bot.key.json      # once, by the agent's owner
    export VALETKEY_URL=https://valetkey.example.com AGENT=refund-bot AGENT_KEY_FILE=bot.key.json
    python examples/ciba_client.py 'orders-db:write{region=eu}' 'correct order 4012'

It starts a task, asks in the back channel, polls until somebody has decided, collects the
credential with the token that it got for it, and ends the task.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import jwt

CIBA = "urn:openid:params:grant-type:ciba"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DETAIL = "urn:valetkey:authorization:credential"


@dataclass
class Client:
    """One agent with its own key (a private EC JWK), which is its DPoP key too."""

    url: str
    agent: str
    jwk: dict[str, str]

    def oauth(self, path: str, **form: str) -> Any:
        """POST a form, authenticated by the key (RFC 7523)."""
        now = int(time.time())
        said = {"iss": self.agent, "sub": self.agent, "aud": self.url, "iat": now, "exp": now + 60}
        assertion = self._signed("client-authentication+jwt", said)
        proven = {"client_assertion_type": ASSERTION, "client_assertion": assertion}
        return self._post(path, urlencode({**form, **proven}).encode(), {})

    def api(self, path: str, token: str, **body: object) -> Any:
        """POST JSON to the API with a token of ours."""
        headers = {"Authorization": f"DPoP {token}", "Content-Type": "application/json"}
        return self._post(path, json.dumps(body).encode(), headers, token)

    def _post(self, path: str, body: bytes, headers: dict[str, str], token: str = "") -> Any:
        proof = {"htm": "POST", "htu": self.url + path, "iat": int(time.time())}
        if token:
            digest = hashlib.sha256(token.encode()).digest()
            proof["ath"] = urlsafe_b64encode(digest).rstrip(b"=").decode()
        public = {name: self.jwk[name] for name in ("kty", "crv", "x", "y")}
        headers = {"DPoP": self._signed("dpop+jwt", proof, jwk=public), **headers}
        sent = Request(self.url + path, body, headers)  # noqa: S310 - an address that was given
        with urlopen(sent, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def _signed(self, typ: str, claims: dict[str, Any], **head: Any) -> str:
        said = {**claims, "jti": str(uuid.uuid4())}
        return jwt.encode(said, jwt.PyJWK(self.jwk, "ES256").key, "ES256", {"typ": typ, **head})


def polled(client: Client, begun: dict[str, Any]) -> dict[str, Any]:
    """The token answer, as soon as there is one; raises HTTPError for a no."""
    interval = begun["interval"]
    while True:
        try:
            return dict(
                client.oauth("/oauth2/token", grant_type=CIBA, auth_req_id=begun["auth_req_id"])
            )
        except HTTPError as refused:
            error = json.load(refused)
            if error["error"] == "slow_down":
                interval += 5
            elif error["error"] != "authorization_pending":
                print(error["next_action"], file=sys.stderr)
                raise
        time.sleep(interval)


def main() -> int:
    """Print what was got, without the secret; 1 when Valetkey or somebody says no."""
    if len(sys.argv) != 3:
        print("usage: ciba_client.py SCOPE MESSAGE", file=sys.stderr)
        return 2
    scope, message = sys.argv[1:]
    jwk = json.loads(Path(os.environ["AGENT_KEY_FILE"]).read_text())
    client = Client(os.environ["VALETKEY_URL"], os.environ["AGENT"], jwk)
    whole = client.oauth("/oauth2/token", grant_type="client_credentials")["access_token"]
    plan = {"purpose": message, "scopes": [scope], "ttl": 1200}
    task = client.api("/v1/tasks", whole, **plan)["id"]
    try:
        asked = {"type": DETAIL, "task": task, "scope": scope, "ttl": 120}
        begun = client.oauth(
            "/oauth2/bc-authorize",
            authorization_details=json.dumps([asked]),
            binding_message=message,
        )
        print(f"asked; an answer comes within {begun['expires_in']} s", flush=True)
        given = polled(client, begun)
        granted = given["authorization_details"][0]["grant"]
        got = client.api(f"/v1/grants/{granted}/collect", given["access_token"])
        print(f"{got['credential']['type']} until {got['lease']['expires_at']}")
    except HTTPError:
        return 1
    finally:
        whole = client.oauth("/oauth2/token", grant_type="client_credentials")["access_token"]
        client.api(f"/v1/tasks/{task}/end", whole)
    return 0


def told() -> int:
    """The same, where the words of a refusal are printed and not its traceback."""
    try:
        return main()
    except HTTPError as refused:
        print(refused.read().decode(errors="replace"), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(told())
