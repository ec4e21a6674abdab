"""PyJWT 2.15 and requests 2.34, unmodified: our keys, our tokens, and a form made by hand."""

from __future__ import annotations

import secrets
import time
from importlib.metadata import version

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api.hall import Hall
from tests.api.test_authlib import BEARER, pod
from tests.api.test_authlib import hall as hall


def proof(key: ec.EllipticCurvePrivateKey, url: str) -> str:
    """A DPoP proof for a POST, by PyJWT alone."""
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    said = {"jti": secrets.token_hex(8), "iat": int(time.time()), "htm": "POST", "htu": url}
    return jwt.encode(said, key, "ES256", {"typ": "dpop+jwt", "jwk": public})


@pytest.fixture
def token(hall: Hall) -> str:
    """A token got by jwt-bearer: a form, a header, and nothing that knows OAuth."""
    where = f"{hall.url}/oauth2/token"
    form = {"grant_type": BEARER, "assertion": pod(hall)}
    headers = {"DPoP": proof(ec.generate_private_key(ec.SECP256R1()), where)}
    answer = requests.post(where, data=form, headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json()["access_token"])


def test_pyjwt_verifies_our_tokens_with_the_keys_we_publish(hall: Hall, token: str) -> None:
    """RFC 9068: PyJWKClient finds the key by kid, and everything that PyJWT checks is good."""
    assert version("pyjwt").startswith("2.15.")
    key = jwt.PyJWKClient(f"{hall.url}/oauth2/jwks").get_signing_key_from_jwt(token)
    needed = {"require": ["exp", "iat", "sub", "aud", "iss", "jti"], "strict_aud": True}
    said = jwt.decode(
        token, key, algorithms=["ES256"], audience=hall.url, issuer=hall.url, options=needed
    )
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert 0 < said["exp"] - said["iat"] <= 300
    assert said["client_id"] == said["sub"] == hall.stage.agent.id
    assert said["cnf"].keys() == {"jkt"}


def test_pyjwt_finds_nobody_elses_key_with_us(hall: Hall) -> None:
    """A platform's token names a key that is not ours."""
    with pytest.raises(jwt.PyJWKClientError):
        jwt.PyJWKClient(f"{hall.url}/oauth2/jwks").get_signing_key_from_jwt(pod(hall))


def test_every_published_key_says_what_it_is_for(hall: Hall) -> None:
    """`use`, `alg` and `kid` on each, public members only."""
    keys = jwt.PyJWKClient(f"{hall.url}/oauth2/jwks").get_jwk_set().keys
    assert keys
    for key in keys:
        assert (key.public_key_use, key.algorithm_name, bool(key.key_id)) == ("sig", "ES256", True)
        assert isinstance(key.key, ec.EllipticCurvePublicKey)
