"""Our own tokens: what is in them, what is refused in their place, and how keys rotate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt as pyjwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from tests.identity.place import US, Place
from valetkey.core.errors import BrokerError, TokenExpired, Unauthenticated
from valetkey.core.principal import Caller, Principal
from valetkey.identity.keys import SigningKeys
from valetkey.identity.tokens import AccessTokens
from valetkey.testing.issuer import WITHOUT, compact, filled
from valetkey.testing.replay import VariableTime

KEY = ECKey.generate_key("P-256")
NOW = VariableTime().at.replace(microsecond=0)
CALLER = Caller(
    kind="person",
    principal=Principal("https://idp.example", "olivia"),
    jkt="thumbprint",
    expires_at=NOW + timedelta(seconds=300),
    token_id="t1",
    groups=frozenset({"ops"}),
    roles=frozenset({"operator"}),
    email="olivia@example.com",
    auth_time=NOW - timedelta(seconds=9),
    fresh_for="grant_1",
)
TOKENS = AccessTokens(US, SigningKeys(KEY))
GOOD = TOKENS.issue(CALLER, NOW)


def forged(header: dict[str, object], claims: dict[str, object]) -> str:
    """A token of our own key, changed."""
    said = pyjwt.decode(GOOD, options={"verify_signature": False})
    head = pyjwt.get_unverified_header(GOOD)
    return compact(filled(head, header), filled(said, claims), KEY)


def test_a_token_says_again_who_the_caller_is() -> None:
    """Nothing is lost or added on the way."""
    assert TOKENS.verify(GOOD, NOW) == CALLER


def test_a_token_is_what_rfc_9068_wants_as_an_independent_library_sees_it() -> None:
    """Type, key id, single audience, at most 300 s, bound to a key."""
    jwk = pyjwt.PyJWKSet.from_dict(dict(SigningKeys(KEY).jwks()))[KEY.thumbprint()]
    now = datetime.now(UTC).replace(microsecond=0)
    fresh = TOKENS.issue(replace(CALLER, expires_at=now + timedelta(seconds=300)), now)
    verified = pyjwt.decode(fresh, jwk, algorithms=["ES256"], audience=US, issuer=US)
    assert pyjwt.get_unverified_header(GOOD)["typ"] == "at+jwt"
    assert verified["exp"] - verified["iat"] == 300
    assert verified["cnf"] == {"jkt": "thumbprint"}
    assert {"sub", "client_id", "jti", "nbf"} <= verified.keys()


REFUSED: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "of another type": ({"typ": "JWT"}, {}),
    "without a type": ({"typ": WITHOUT}, {}),
    "without kid": ({"kid": WITHOUT}, {}),
    "of another kid": ({"kid": "other"}, {}),
    "with crit": ({"crit": ["exp"]}, {}),
    "by another issuer": ({}, {"iss": "https://other.example"}),
    "for another audience": ({}, {"aud": "https://orders.example"}),
    "for us and another": ({}, {"aud": [US, "https://orders.example"]}),
    "without audience": ({}, {"aud": WITHOUT}),
    "without binding": ({}, {"cnf": WITHOUT}),
    "bound to nothing": ({}, {"cnf": {}}),
    "bound to a text": ({}, {"cnf": "thumbprint"}),
    "without kind": ({}, {"vk_kind": WITHOUT}),
    "of unknown kind": ({}, {"vk_kind": "root"}),
    "without jti": ({}, {"jti": WITHOUT}),
    "without end": ({}, {"exp": WITHOUT}),
    "with a float end": ({}, {"exp": NOW.timestamp() + 0.5}),
    "with roles as a text": ({}, {"vk_roles": "operator"}),
    "without start": ({}, {"nbf": WITHOUT}),
    "from the future": ({}, {"iat": int(NOW.timestamp()) + 60}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_token_of_our_own_key_is_refused_when_it_is(why: str) -> None:
    """A credential minted with the same key opens nothing here."""
    with pytest.raises(BrokerError):
        TOKENS.verify(forged(*REFUSED[why]), NOW)


def test_a_role_that_does_not_exist_is_dropped() -> None:
    """Roles are a closed set."""
    assert TOKENS.verify(forged({}, {"vk_roles": ["root"]}), NOW).roles == frozenset()


def test_a_token_ends_without_leeway() -> None:
    """Both clocks are the database's."""
    assert TOKENS.verify(GOOD, NOW + timedelta(seconds=299.9))
    with pytest.raises(TokenExpired):
        TOKENS.verify(GOOD, NOW + timedelta(seconds=300))


@pytest.mark.parametrize("seconds", [0, -1, 301])
def test_a_token_is_never_made_for_longer_than_300_seconds(seconds: int) -> None:
    """Nor for no time at all."""
    from dataclasses import replace

    with pytest.raises(ValueError, match="300"):
        TOKENS.issue(replace(CALLER, expires_at=NOW + timedelta(seconds=seconds)), NOW)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_mutated_token_never_verifies(data: st.DataObject) -> None:
    """One character changed, dropped or added anywhere is enough."""
    where = data.draw(st.integers(0, len(GOOD) - 1))
    letter = data.draw(st.text("ABCdef059-_.=+/ \n", min_size=0, max_size=2))
    changed = GOOD[:where] + letter + GOOD[where + 1 :]
    if changed == GOOD:
        return
    with pytest.raises(BrokerError):
        TOKENS.verify(changed, NOW)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_noise_is_refused_and_never_breaks_us(noise: str) -> None:
    """Whatever is sent, the answer is a refusal."""
    with pytest.raises(BrokerError):
        TOKENS.verify(noise, NOW)


def test_a_mutated_platform_proof_never_verifies(place: Place) -> None:
    """Every position of header, payload and signature counts."""
    token = place.bot()
    reader = place.replica()._exchange.reader
    assert reader.read(token, "jkt", place.time.now())
    for where in range(0, len(token), 3):
        other = "A" if token[where] != "A" else "B"
        with pytest.raises(BrokerError):
            reader.read(token[:where] + other + token[where + 1 :], "jkt", place.time.now())


def test_a_retired_key_still_verifies_and_a_forgotten_one_does_not() -> None:
    """Rotation ends no session; dropping the old key ends them all."""
    new = ECKey.generate_key("P-256")
    assert AccessTokens(US, SigningKeys(new, [KEY])).verify(GOOD, NOW) == CALLER
    with pytest.raises(Unauthenticated):
        AccessTokens(US, SigningKeys(new)).verify(GOOD, NOW)


@pytest.mark.parametrize(
    "write",
    [
        lambda key: key.as_pem(private=True),
        lambda key: json.dumps(key.as_dict(private=True)).encode(),
    ],
    ids=["PEM", "JWK"],
)
def test_keys_are_loaded_from_files(tmp_path: Path, write: Callable[[ECKey], bytes]) -> None:
    """The published set never holds a private part, and nothing prints one."""
    old = ECKey.generate_key("P-256")
    (tmp_path / "active").write_bytes(write(KEY))
    (tmp_path / "old").write_bytes(write(old))
    keys = SigningKeys.load(tmp_path / "active", [tmp_path / "old"])
    assert AccessTokens(US, keys).verify(GOOD, NOW) == CALLER
    shown = json.dumps(keys.jwks())
    assert '"d"' not in shown
    assert old.thumbprint() in shown
    assert repr(keys) == "SigningKeys(2)"


@pytest.mark.parametrize("raw", [b"", b"{}", b"hello", b'{"kty":"oct","k":"AAAA"}'])
def test_a_file_without_an_ec_key_is_refused(tmp_path: Path, raw: bytes) -> None:
    """By its name, and without its content."""
    (tmp_path / "key").write_bytes(raw)
    with pytest.raises(ValueError, match="does not hold an EC key"):
        SigningKeys.load(tmp_path / "key")


@pytest.mark.parametrize(
    "key", [ECKey.generate_key("P-384"), ECKey.generate_key("P-256", private=False)]
)
def test_only_a_private_p256_key_signs(key: ECKey) -> None:
    """Another curve, or half a key, is refused at the start."""
    with pytest.raises(ValueError, match="P-256"):
        SigningKeys(key)
