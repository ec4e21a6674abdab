"""Every slot where a JWT comes in: how a good one looks there, and how it is shown.

`signed` makes one that is good but for the changes; `show` shows it, and raises as the door does.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from joserfc.jwk import ECKey

from tests.identity.place import ASSERTION, BOT, ID_TOKEN, TOKEN_URL, US, Place
from valetkey.identity.bindings import AgentIdentity, ClientKey
from valetkey.testing.issuer import Key, LocalIssuer, compact, dpop_proof, filled, public_jwk

BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CALL_URL = f"{US}/v1/tasks"


@dataclass
class Slot:
    """One slot at one place; `issuer` where its keys are published by somebody else."""

    name: str
    place: Place
    head: dict[str, object]
    said: dict[str, object]
    key: Key
    show: Callable[[str], object]
    issuer: LocalIssuer | None = None

    def signed(
        self,
        head: Mapping[str, object] | None = None,
        said: Mapping[str, object] | None = None,
        key: Key | None = None,
    ) -> str:
        """The slot's good token with changes, well signed."""
        return self.raw(
            filled(self.head, head or {}), json.dumps(filled(self.said, said or {})), key
        )

    def raw(self, head: Mapping[str, object], said: str | bytes, key: Key | None = None) -> str:
        """Whatever payload under whatever header, well signed."""
        payload = said if isinstance(said, bytes) else said.encode()
        return compact(head, payload, key or self.key)


def _times(place: Place, lives: int) -> dict[str, object]:
    now = int(place.now)
    return {"iat": now, "nbf": now, "exp": now + lives, "jti": secrets.token_urlsafe(16)}


def subject_token(place: Place) -> Slot:
    """A workload's proof at the token exchange."""
    return _proof(place, "subject_token", lambda token: place.exchange(place.form(token)))


def assertion(place: Place) -> Slot:
    """The same by jwt-bearer."""
    form = {"grant_type": BEARER}
    return _proof(place, "assertion", lambda token: place.exchange({**form, "assertion": token}))


def _proof(place: Place, name: str, show: Callable[[str], object]) -> Slot:
    issuer = place.workloads
    head = {"typ": "JWT", "alg": "ES256", "kid": issuer.key.kid}
    said = {"iss": issuer.url, "sub": BOT, "aud": US, **_times(place, 300)}
    return Slot(name, place, head, said, issuer.key, show, issuer)


def id_token(place: Place) -> Slot:
    """A person's login at the token exchange."""
    issuer = place.people
    said = {
        "iss": issuer.url,
        "sub": "olivia",
        "aud": "valetkey-cli",
        "email": "olivia@example.com",
        "email_verified": True,
        **_times(place, 300),
    }
    head = {"typ": "JWT", "alg": "ES256", "kid": issuer.key.kid}
    show = lambda token: place.exchange(place.form(token, ID_TOKEN))  # noqa: E731
    return Slot("id_token", place, head, said, issuer.key, show, issuer)


def agents_assertion(place: Place) -> Slot:
    """An agent's own key at client_credentials."""
    key = ECKey.generate_key("P-256")
    identity = AgentIdentity("agent_bot", "refund-bot", "binding_key")
    place.bindings.keys.append(ClientKey(identity, public_jwk(key)))
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION}
    said = {"iss": "refund-bot", "sub": "refund-bot", "aud": US, **_times(place, 60)}
    head = {"typ": "client-authentication+jwt", "alg": "ES256"}
    show = lambda token: place.exchange({**form, "client_assertion": token})  # noqa: E731
    return Slot("agents_assertion", place, head, said, key, show)


def servers_assertion(place: Place) -> Slot:
    """A resource server at introspection."""
    form = {"client_assertion_type": ASSERTION, "token": "x"}
    said = {"iss": "orders-api", "sub": "orders-api", "aud": US, **_times(place, 60)}
    head = {"typ": "client-authentication+jwt", "alg": "ES256", "kid": "server-1"}
    show = lambda token: place.replica().introspect({**form, "client_assertion": token})  # noqa: E731
    return Slot("servers_assertion", place, head, said, place.server_key, show)


def access_token(place: Place) -> Slot:
    """A token of ours at `/v1`, signed by our own key, whose holder makes a good DPoP proof."""
    key = ECKey.generate_key("P-256")
    place.keys = type(place.keys)(key)
    said = {
        "iss": US,
        "aud": US,
        "sub": "agent_bot",
        "client_id": "agent_bot",
        "cnf": {"jkt": place.dpop_key.thumbprint()},
        "vk_kind": "agent",
        "vk_issuer": place.workloads.url,
        "vk_subject": BOT,
        "vk_agent_id": "agent_bot",
        **_times(place, 300),
    }
    head = {"typ": "at+jwt", "alg": "ES256", "kid": key.thumbprint()}

    def show(token: str) -> object:
        proof = place.dpop("GET", CALL_URL, {"token": token})
        return place.replica().authenticate([f"DPoP {token}"], [proof], "GET", CALL_URL)

    return Slot("access_token", place, head, said, key, show)


def proof_of_call(place: Place) -> Slot:
    """The DPoP proof of a call of `/v1`."""
    token = place.token()
    key = place.dpop_key
    good = dpop_proof(key, place.now, {"htm": "GET", "htu": CALL_URL, "token": token})

    def show(proof: str) -> object:
        return place.replica().authenticate([f"DPoP {token}"], [proof], "GET", CALL_URL)

    return _dpop("proof_of_call", place, good, show)


def proof_at_token(place: Place) -> Slot:
    """The DPoP proof of a token request, whose platform's proof is good."""
    good = dpop_proof(place.dpop_key, place.now, {"htm": "POST", "htu": TOKEN_URL})

    def show(proof: str) -> object:
        return place.replica().exchange(place.form(place.bot()), [proof], TOKEN_URL)

    return _dpop("proof_at_token", place, good, show)


def _dpop(name: str, place: Place, good: str, show: Callable[[str], object]) -> Slot:
    head, said = (json.loads(decoded(part)) for part in good.split(".")[:2])
    return Slot(name, place, head, said, place.dpop_key, show)


def decoded(part: str) -> bytes:
    """A base64url part."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


Open = Callable[[Place], Slot]
PLATFORM = (subject_token, assertion)
ISSUED = (*PLATFORM, id_token)
CLIENT = (agents_assertion, servers_assertion)
SAID = (*ISSUED, *CLIENT, access_token)
DPOP = (proof_of_call, proof_at_token)
ALL = (*SAID, *DPOP)
OWN_TYP = {
    **dict.fromkeys(ISSUED, "JWT"),
    **dict.fromkeys(CLIENT, "client-authentication+jwt"),
    access_token: "at+jwt",
    **dict.fromkeys(DPOP, "dpop+jwt"),
}
