"""An OAuth client that knows nothing of Valetkey: Authlib, `private_key_jwt`, DPoP, one credential.

    valetkey agent bind refund-bot --key-file bot.key.json      # once, by the agent's owner
    export VALETKEY_URL=https://valetkey.example.com AGENT=refund-bot AGENT_KEY_FILE=bot.key.json
    python examples/oauth_client.py 'orders-db:read{region=eu}'

Needs the packages `authlib` and `requests`. Authlib 1.9 has no DPoP (RFC 9449); `Dpop` below adds
it as a transport adapter, which is where requests lets one look at what is sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any, ClassVar

import requests
from authlib.integrations.requests_client import OAuth2Auth, OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import ECKey
from requests.adapters import HTTPAdapter


class Dpop(HTTPAdapter):
    """Sends each request with a proof that we hold a key; again, where the server wants a nonce."""

    def __init__(self, key: ECKey) -> None:
        super().__init__()
        self._key = key
        self._nonce: str | None = None

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        """Send with a new proof."""
        request.headers["DPoP"] = self._proof(request)
        answer = super().send(request, **how)
        wanted = answer.headers.get("DPoP-Nonce")
        if wanted is None or wanted == self._nonce:
            return answer
        self._nonce = wanted
        request.headers["DPoP"] = self._proof(request)
        return super().send(request, **how)

    def _proof(self, request: requests.PreparedRequest) -> str:
        claims = {
            "jti": secrets.token_urlsafe(16),
            "iat": int(time.time()),
            "htm": request.method,
            "htu": (request.url or "").partition("?")[0],
        }
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "DPoP":
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if self._nonce is not None:
            claims["nonce"] = self._nonce
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self._key.as_dict(private=False)}
        return jwt.encode(head, claims, self._key)


def _under_dpop(token: str, uri: str, headers: Any, body: Any, place: str) -> tuple[Any, ...]:
    headers["Authorization"] = f"DPoP {token}"
    return uri, headers, body


class DpopAuth(OAuth2Auth):
    """Authlib's way to send a token, for the token type that it does not know."""

    SIGN_METHODS: ClassVar = {"dpop": _under_dpop}


class DpopSession(OAuth2Session):
    """Authlib's session whose tokens are bound to a key (RFC 9449)."""

    token_auth_class = DpopAuth

    def __init__(self, client_id: str | None = None, key: ECKey | None = None, **more: Any) -> None:
        super().__init__(client_id, **more)
        adapter = Dpop(key or ECKey.generate_key("P-256"))
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)


def discovered(url: str) -> AuthorizationServerMetadata:
    """What the server says of itself (RFC 8414); its `issuer` must be the address we know."""
    answer = requests.get(get_well_known_url(url, external=True), timeout=10)
    answer.raise_for_status()
    told = AuthorizationServerMetadata(answer.json())
    if told.issuer != url:
        raise ValueError("another server answers there")
    return told


def signs_with_its_key(session: OAuth2Session, issuer: str, **more: str) -> OAuth2Session:
    """Let the client's next call be authenticated by its own key (private_key_jwt).

    The audience is the issuer identifier, the type is named, and the assertion is short: Authlib's
    own are for the token endpoint, of type JWT, and live for an hour. `more` goes into its header.
    """
    head = {"typ": "client-authentication+jwt", **more}
    ends = {"exp": int(time.time()) + 60}
    session.register_client_auth_method(PrivateKeyJWT(issuer, ends, head, alg="ES256"))
    return session


def main() -> int:
    """Print what was got, without the secret, and end the task; 1 when Valetkey refuses."""
    if len(sys.argv) != 2:
        print("usage: oauth_client.py SCOPE", file=sys.stderr)
        return 2
    url, agent = os.environ["VALETKEY_URL"], os.environ["AGENT"]
    key = ECKey.import_key(json.loads(Path(os.environ["AGENT_KEY_FILE"]).read_text()))
    server = discovered(url)
    by_key = {f"{use}_endpoint_auth_method": "private_key_jwt" for use in ("token", "revocation")}
    session = DpopSession(agent, client_secret=key, **by_key)
    try:
        signs_with_its_key(session, server.issuer).fetch_token(
            server.token_endpoint, grant_type="client_credentials"
        )
        task = told(session, f"{url}/v1/tasks", purpose="try", scopes=[sys.argv[1]], ttl=300)
        try:
            ask = {"task": task["id"], "scope": sys.argv[1], "ttl": 120, "reason": "try"}
            got = told(session, f"{url}/v1/credentials", **ask)
            print(f"{got['credential']['type']} until {got['lease']['expires_at']}")
        finally:
            told(session, f"{url}/v1/tasks/{task['id']}/end")
    except requests.HTTPError as refused:
        print(refused.response.json()["next_action"], file=sys.stderr)
        return 1
    return 0


def told(session: OAuth2Session, url: str, **body: Any) -> Any:
    """What a POST is answered; raises requests.HTTPError for a refusal."""
    headers = {"Idempotency-Key": secrets.token_urlsafe(12)}
    answer = session.post(url, json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


if __name__ == "__main__":
    sys.exit(main())
