"""A token that is good for one ask and nothing else (RFC 9396), for a part that is trusted less.

    export VALETKEY_URL=https://valetkey.example.com AGENT=refund-bot AGENT_KEY_FILE=bot.key.json
    python examples/one_ask.py 'orders-db:read{region=eu}'

The agent starts a task, and gets a second token for one scope of it for two minutes. With that one
it gets the credential; anything else, like a second task, is refused as `outside_token`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import requests
from joserfc.jwk import ECKey
from oauth_client import DpopSession, discovered, signs_with_its_key, told

BY_KEY = {"token_endpoint_auth_method": "private_key_jwt"}
TYPE = "urn:valetkey:authorization:credential"


def main() -> int:
    """Print what the narrow token was good for; 1 when Valetkey refuses what should go well."""
    if len(sys.argv) != 2:
        print("usage: one_ask.py SCOPE", file=sys.stderr)
        return 2
    url, agent, scope = os.environ["VALETKEY_URL"], os.environ["AGENT"], sys.argv[1]
    key = ECKey.import_key(json.loads(Path(os.environ["AGENT_KEY_FILE"]).read_text()))
    server, dpop = discovered(url), ECKey.generate_key("P-256")
    whole = DpopSession(agent, key=dpop, client_secret=key, **BY_KEY)
    narrow = DpopSession(agent, key=dpop, client_secret=key, **BY_KEY)
    grant = {"grant_type": "client_credentials"}
    try:
        signs_with_its_key(whole, server.issuer).fetch_token(server.token_endpoint, **grant)
        task = told(whole, f"{url}/v1/tasks", purpose="try", scopes=[scope], ttl=300)
        try:
            ask = {"task": task["id"], "scope": scope, "ttl": 120}
            asked = json.dumps([{"type": TYPE, **ask}])
            signs_with_its_key(narrow, server.issuer).fetch_token(
                server.token_endpoint, authorization_details=asked, **grant
            )
            got = told(narrow, f"{url}/v1/credentials", reason="try", **ask)
            print(f"{got['credential']['type']} until {got['lease']['expires_at']}")
            plan = {"purpose": "more", "scopes": [scope], "ttl": 300}
            print(narrow.post(f"{url}/v1/tasks", json=plan, timeout=60).json()["code"])
        finally:
            told(whole, f"{url}/v1/tasks/{task['id']}/end")
    except requests.HTTPError as refused:
        print(refused.response.json()["next_action"], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
