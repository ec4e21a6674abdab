"""Authlib 1.9, unmodified, as OAuth client of a real server: over HTTP, on a real PostgreSQL.

What it cannot do by itself (DPoP) is added in `examples/oauth_client.py`, as any user would.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import authlib
import pytest
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc.jwk import ECKey

from examples import oauth_client
from examples.oauth_client import DpopSession, discovered, signs_with_its_key
from tests.api.hall import SCOPE, US, Hall
from tests.api.served import Served
from tests.api.test_client_keys import BINDINGS, members
from tests.api.test_oauth import EXCHANGE, JWT
from tests.contract.databases import Databases
from valetkey.core.errors import InvalidParameter
from valetkey.core.facts import FactKind
from valetkey.identity.details import TYPE
from valetkey.store.sql_store import open_store

BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
KEY = ECKey.generate_key("P-256")
BY_KEY = {f"{use}_endpoint_auth_method": "private_key_jwt" for use in ("token", "revocation")}


@pytest.fixture(scope="module")
def hall(databases: Databases) -> Iterator[Hall]:
    """A hall at its own loopback address, with an agent whose key is bound and one of a pod."""
    with ExitStack() as stack:
        store = open_store(databases.app(databases.fresh()), pool=12, kept=6)
        stack.callback(store.close)
        listening = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        hall = Hall(stack, store, url=url)
        stack.callback(Served(hall, listening).close)
        pod = {"issuer": "workloads", "claims": {"sub": "pod-one"}}
        key = {"issuer": "client-key", "claims": members(KEY)}
        for binding in (pod, key):
            assert hall.owner.call("POST", BINDINGS, binding).status_code == 201
        yield hall


def keyed(hall: Hall, **more: Any) -> OAuth2Session:
    """The agent as a client with its own key, about to call."""
    session = DpopSession("refund-bot", client_secret=KEY, **BY_KEY, **more)
    return signs_with_its_key(session, hall.url)


def plain(hall: Hall, **more: Any) -> OAuth2Session:
    """A client whose platform's proof is all it has."""
    return DpopSession(token_endpoint_auth_method="none", client_id="pod-one", **more)


def pod(hall: Hall) -> str:
    """The platform's proof."""
    return hall.issuers["workloads"].sign(time.time(), {"sub": "pod-one", "aud": hall.url})


def works(hall: Hall, session: OAuth2Session) -> Any:
    """The token opens the API: a task is started by the agent."""
    plan = {"purpose": "a refund", "scopes": ["orders-db:read"], "ttl": 600}
    started = session.post(f"{hall.url}/v1/tasks", json=plan)
    assert started.status_code == 201, started.text
    return started.json()["id"]


def as_server(hall: Hall) -> OAuth2Session:
    """The registered resource server, about to call."""
    session = OAuth2Session("orders-api", hall.server_key, **BY_KEY)
    return signs_with_its_key(session, hall.url, kid="server-1")


def test_the_client_is_the_one_that_is_told_of() -> None:
    """Authlib 1.9, from where it is installed."""
    assert version("authlib").startswith("1.9.")
    assert "site-packages" in authlib.__file__


def test_it_finds_the_server_by_its_metadata(hall: Hall) -> None:
    """RFC 8414: the document is where Authlib looks for it, and says what Authlib needs."""
    told = discovered(hall.url)
    assert told.token_endpoint == f"{hall.url}/oauth2/token"
    assert "private_key_jwt" in told.token_endpoint_auth_methods_supported


def test_its_own_check_of_the_metadata_finds_one_thing_only() -> None:
    """An empty list of response types: there is no authorization endpoint to have one."""
    with ExitStack() as stack:
        hall = Hall(stack)
        told = hall.client.get(get_well_known_url(US)).json()
    metadata = AuthorizationServerMetadata(told)
    for name in metadata.REGISTRY_KEYS:
        if name != "response_types_supported":
            getattr(metadata, f"validate_{name}")()
    assert metadata["response_types_supported"] == []


def test_client_credentials_by_private_key_jwt(hall: Hall) -> None:
    """RFC 6749 section 4.4 and RFC 7523: a bound token, and the API with it."""
    session = keyed(hall)
    got = session.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    assert (got["token_type"], "refresh_token" in got) == ("DPoP", False)
    works(hall, session)


def test_an_assertion_that_authlib_makes_untold_is_refused(hall: Hall) -> None:
    """For the token endpoint, of type JWT and an hour long: each alone is invalid_client."""
    session = DpopSession("refund-bot", client_secret=KEY, **BY_KEY)
    session.register_client_auth_method(oauth_client.PrivateKeyJWT(alg="ES256"))
    with pytest.raises(OAuthError) as refused:
        session.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    assert refused.value.error == "invalid_client"


def test_a_token_for_one_ask_only(hall: Hall) -> None:
    """RFC 9396: what is granted is echoed, and opens nothing else."""
    dpop = ECKey.generate_key("P-256")
    first = keyed(hall, key=dpop)
    first.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    task = works(hall, first)
    detail = {"type": TYPE, "task": task, "scope": SCOPE, "ttl": 120}
    second = keyed(hall, key=dpop)
    got = second.fetch_token(
        f"{hall.url}/oauth2/token",
        grant_type="client_credentials",
        authorization_details=json.dumps([detail]),
    )
    assert got["authorization_details"] == [detail]
    ask = {"task": task, "scope": SCOPE, "ttl": 120, "reason": "because"}
    given = second.post(f"{hall.url}/v1/credentials", json=ask, headers={"Idempotency-Key": "one"})
    assert given.status_code == 201, given.text
    plan = {"purpose": "more", "scopes": ["orders-db:read"], "ttl": 600}
    assert second.post(f"{hall.url}/v1/tasks", json=plan).json()["code"] == "outside_token"


def test_token_exchange_of_a_platforms_proof(hall: Hall) -> None:
    """RFC 8693 by Authlib's general call; once only, as it is told in words of OAuth."""
    session, proof = plain(hall), pod(hall)
    asked = {"subject_token": proof, "subject_token_type": JWT}
    got = session.fetch_token(f"{hall.url}/oauth2/token", grant_type=EXCHANGE, **asked)
    assert got["issued_token_type"].endswith(":access_token")
    works(hall, session)
    with pytest.raises(OAuthError) as refused:
        plain(hall).fetch_token(f"{hall.url}/oauth2/token", grant_type=EXCHANGE, **asked)
    assert refused.value.error == "invalid_request"


def test_jwt_bearer_of_a_platforms_proof(hall: Hall) -> None:
    """RFC 7523 section 2.1, with the proof as the assertion."""
    session = plain(hall)
    session.fetch_token(f"{hall.url}/oauth2/token", grant_type=BEARER, assertion=pod(hall))
    works(hall, session)


def test_jwt_bearer_that_authlib_signs_itself(hall: Hall) -> None:
    """Its AssertionSession in the place of a platform, whose assertions are made as it calls."""
    issuer = hall.issuers["workloads"]
    session = AssertionSession(
        token_endpoint=f"{hall.url}/oauth2/token",
        issuer=issuer.url,
        subject="pod-one",
        audience=hall.url,
        grant_type=BEARER,
        key=issuer.key,
        header={"alg": "ES256", "kid": issuer.key.kid},
    )
    session.mount("http://", oauth_client.Dpop(ECKey.generate_key("P-256")))
    assert session.refresh_token()["token_type"] == "DPoP"


def test_a_token_revoked_with_the_clients_own_key(hall: Hall) -> None:
    """RFC 7009 as Authlib does it, with no other token; then the token opens nothing."""
    session = keyed(hall)
    token = session.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    works(hall, session)
    signs_with_its_key(session, hall.url)
    done = session.revoke_token(f"{hall.url}/oauth2/revoke", token["access_token"])
    assert (done.status_code, done.json()) == (200, {})
    assert session.get(f"{hall.url}/v1/tasks").status_code == 401


def test_a_token_of_another_agent_is_not_revoked(hall: Hall) -> None:
    """invalid_grant, and it goes on opening the API."""
    people = hall.approver
    told = keyed(hall).revoke_token(f"{hall.url}/oauth2/revoke", people.token)
    assert (told.status_code, told.json()["error"]) == (400, "invalid_grant")
    assert people.call("GET", "/v1/grants").status_code == 200


def test_a_token_introspected_by_a_resource_server(hall: Hall) -> None:
    """RFC 7662: the server proves itself by its key, and hears what the token is bound to."""
    session = keyed(hall)
    token = session.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    told = as_server(hall).introspect_token(f"{hall.url}/oauth2/introspect", token["access_token"])
    assert told.json()["active"] is True
    assert told.json()["cnf"]["jkt"]


def test_a_session_goes_on_with_a_new_token_when_its_old_one_ends(hall: Hall) -> None:
    """Authlib asks again by itself, for there is no refresh token."""
    session = keyed(hall, token_endpoint=f"{hall.url}/oauth2/token", leeway=3600)
    session.metadata["grant_type"] = "client_credentials"
    first = session.fetch_token()["access_token"]
    signs_with_its_key(session, hall.url)
    works(hall, session)
    assert session.token["access_token"] != first


def test_a_secret_is_no_way_in(hall: Hall) -> None:
    """HTTP Basic, Authlib's own choice for a client with a secret: invalid_client."""
    session = OAuth2Session("refund-bot", "s3cret")
    with pytest.raises(OAuthError) as refused:
        session.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    assert refused.value.error == "invalid_client"


def test_a_token_without_proof_of_its_key_is_refused(hall: Hall) -> None:
    """Under the Bearer scheme, as Authlib would send a token of a type it knows."""
    session = keyed(hall)
    token = session.fetch_token(f"{hall.url}/oauth2/token", grant_type="client_credentials")
    stolen = {"access_token": token["access_token"], "token_type": "Bearer"}
    answer = OAuth2Session(token=stolen).get(f"{hall.url}/v1/tasks")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("DPoP ")


def test_the_protected_resource_says_whom_to_ask(hall: Hall) -> None:
    """RFC 9728 by `requests`: from a 401 to the metadata of who gives tokens."""
    challenge = requests.get(f"{hall.url}/v1/tasks", timeout=10).headers["WWW-Authenticate"]
    _, _, there = challenge.partition('resource_metadata="')
    told = requests.get(there.rstrip('"'), timeout=10).json()
    assert discovered(told["authorization_servers"][0]).issuer == hall.url


def example(hall: Hall, folder: Path, name: str, scope: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a process, with an address and files, and nothing else."""
    key, token = folder / "bot.key.json", folder / "identity.jwt"
    key.write_text(json.dumps(KEY.as_dict(private=True)))
    token.write_text(pod(hall))
    env = {"PATH": os.environ["PATH"], "VALETKEY_URL": hall.url, "AGENT": "refund-bot"}
    files = {"AGENT_KEY_FILE": str(key), "VALETKEY_IDENTITY_TOKEN_FILE": str(token)}
    return subprocess.run(
        [sys.executable, str(Path(oauth_client.__file__).with_name(f"{name}.py")), scope],
        env={**env, **files},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def ended_and_minted(hall: Hall) -> tuple[int, int]:
    """How many tasks have ended, and credentials were made."""
    kinds = [entry.fact.kind for entry in hall.facts()]
    return kinds.count(FactKind.TASK_ENDED), kinds.count(FactKind.LEASE_MINTED)


@pytest.mark.parametrize("name", ["oauth_client", "token_exchange", "one_ask"])
def test_an_example_gets_a_credential_and_ends_its_task(
    hall: Hall, tmp_path: Path, name: str
) -> None:
    """As people would run it; and what is refused says what to do."""
    before = ended_and_minted(hall)
    done = example(hall, tmp_path, name, SCOPE)
    assert done.returncode == 0, done.stderr
    first, *more = done.stdout.splitlines()
    assert " until " in first
    assert more == (["outside_token"] if name == "one_ask" else [])
    assert ended_and_minted(hall) == (before[0] + 1, before[1] + 1)
    refused = example(hall, tmp_path, name, "orders-db:read{region=mars}")
    assert refused.returncode == 1
    assert refused.stderr.strip() == InvalidParameter.next_action
