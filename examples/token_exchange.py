"""A workload's platform proof for a token, and one credential: RFC 8693 by Authlib alone.

    export VALETKEY_URL=https://valetkey.example.com
    export VALETKEY_IDENTITY_TOKEN_FILE=/var/run/secrets/valetkey/token
    python examples/token_exchange.py 'orders-db:read{region=eu}'

Any OIDC platform will do: the file holds a token that it signed for the broker's address.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import requests
from oauth_client import DpopSession, discovered, told

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


def main() -> int:
    """Print what was got, without the secret, and end the task; 1 when Valetkey refuses."""
    if len(sys.argv) != 2:
        print("usage: token_exchange.py SCOPE", file=sys.stderr)
        return 2
    url, scope = os.environ["VALETKEY_URL"], sys.argv[1]
    proof = Path(os.environ["VALETKEY_IDENTITY_TOKEN_FILE"]).read_text().strip()
    session = DpopSession(token_endpoint_auth_method=_nothing_more)
    try:
        asked = {"subject_token": proof, "subject_token_type": JWT}
        session.fetch_token(discovered(url).token_endpoint, grant_type=EXCHANGE, **asked)
        task = told(session, f"{url}/v1/tasks", purpose="try", scopes=[scope], ttl=300)
        try:
            ask = {"task": task["id"], "scope": scope, "ttl": 120, "reason": "try"}
            got = told(session, f"{url}/v1/credentials", **ask)
            print(f"{got['credential']['type']} until {got['lease']['expires_at']}")
        finally:
            told(session, f"{url}/v1/tasks/{task['id']}/end")
    except requests.HTTPError as refused:
        print(refused.response.json()["next_action"], file=sys.stderr)
        return 1
    return 0


def _nothing_more(client: object, method: str, uri: str, headers: dict, body: str) -> tuple:
    """The platform's proof authenticates the client; the form needs nothing besides."""
    return uri, headers, body


if __name__ == "__main__":
    sys.exit(main())
