"""Client credentials by private_key_jwt: an agent's own key, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from joserfc.jwk import ECKey, OKPKey

from tests.identity.place import ASSERTION, TOKEN_URL, US, Place
from valetkey.core.errors import AgentDisabled, BrokerError, ProofReplayed
from valetkey.core.principal import Caller
from valetkey.identity.bindings import AgentIdentity, ClientKey
from valetkey.testing.issuer import WITHOUT, Key, compact, filled, public_jwk

BOT = AgentIdentity("agent_bot", "refund-bot", "binding_key")


@pytest.fixture
def key(place: Place) -> ECKey:
    """The agent's own key, bound."""
    made = ECKey.generate_key("P-256")
    place.bindings.keys.append(ClientKey(BOT, public_jwk(made)))
    return made


def signed(
    place: Place, key: Key, header: dict[str, object] | None = None, **claims: object
) -> str:
    """The agent's assertion, with changes."""
    said: dict[str, object] = {
        "iss": "refund-bot",
        "sub": "refund-bot",
        "aud": US,
        "iat": int(place.now),
        "exp": int(place.now) + 60,
        "jti": f"jti-{len(place.uses.kept_until())}",
    }
    head = {"typ": "client-authentication+jwt", "alg": "ES256"}
    return compact(filled(head, header or {}), filled(said, claims), key)


def form(assertion: str, **changes: str) -> dict[str, str]:
    """The token request."""
    asked = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": assertion,
    }
    return {**asked, **changes}


@pytest.mark.parametrize("name", ["refund-bot", "agent_bot"])
def test_an_agent_gets_a_token_with_its_own_key(place: Place, key: ECKey, name: str) -> None:
    """By name or id; bound to the DPoP key, which is another; told with its binding."""
    answer = place.exchange(form(signed(place, key, iss=name, sub=name), client_id=name))
    assert (answer["token_type"], "issued_token_type" in answer) == ("DPoP", False)
    assert 0 < int(str(answer["expires_in"])) <= 300
    caller = place.call(str(answer["access_token"]))
    assert (caller.kind, caller.agent_id, caller.binding_id) == (
        "agent",
        "agent_bot",
        "binding_key",
    )
    assert (str(caller.principal), caller.jkt) == (f"{US} agent_bot", place.dpop_key.thumbprint())
    assert (place.told[0].issuer, place.told[0].unaccounted) == ("client-key", ())


def test_each_of_several_keys_will_do(place: Place, key: ECKey) -> None:
    """So that one can be replaced while the other is in use; `kid` is not looked at."""
    second = OKPKey.generate_key("Ed25519")
    place.bindings.keys.append(ClientKey(BOT, public_jwk(second)))
    head: dict[str, object] = {"alg": "EdDSA", "kid": "whatever"}
    assert place.exchange(form(signed(place, second, head)))
    assert place.exchange(form(signed(place, key)))


def times(iat: int = 0, exp: int = 60) -> Callable[[Place, Key], str]:
    """An assertion with moved times."""
    return lambda place, key: signed(place, key, iat=int(place.now) + iat, exp=int(place.now) + exp)


def stranger(place: Place, key: Key) -> str:
    """Signed by another key than the bound one."""
    return signed(place, ECKey.generate_key("P-256"))


REFUSED: dict[str, Callable[[Place, Key], str]] = {
    "for the token endpoint": lambda place, key: signed(place, key, aud=TOKEN_URL),
    "for an array of one": lambda place, key: signed(place, key, aud=[US]),
    "for us and another": lambda place, key: signed(place, key, aud=[US, "https://evil.example"]),
    "without audience": lambda place, key: signed(place, key, aud=WITHOUT),
    "for us with a slash": lambda place, key: signed(place, key, aud=US + "/"),
    "by one about another": lambda place, key: signed(place, key, sub="agent_bot"),
    "by nobody": lambda place, key: signed(place, key, iss=WITHOUT),
    "by somebody unknown": lambda place, key: signed(place, key, iss="other", sub="other"),
    "without jti": lambda place, key: signed(place, key, jti=WITHOUT),
    "without end": lambda place, key: signed(place, key, exp=WITHOUT),
    "without beginning": lambda place, key: signed(place, key, iat=WITHOUT),
    "longer than 300 s": times(exp=301),
    "over": times(iat=-100, exp=-1),
    "from the future": times(iat=60, exp=120),
    "with a text for an end": lambda place, key: signed(place, key, exp=str(int(place.now) + 60)),
    "of type JWT": lambda place, key: signed(place, key, {"typ": "JWT"}),
    "of no type": lambda place, key: signed(place, key, {"typ": WITHOUT}),
    "a DPoP proof by type": lambda place, key: signed(place, key, {"typ": "dpop+jwt"}),
    "with a key of its own in it": lambda place, key: signed(place, key, {"jwk": public_jwk(key)}),
    "with a critical header": lambda place, key: signed(place, key, {"crit": ["x"]}),
    "signed by a stranger": stranger,
    "no JWT": lambda place, key: "nonsense",
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_bad_assertion_is_an_invalid_client(place: Place, key: ECKey, why: str) -> None:
    """And nothing is used up, no token is told of."""
    with pytest.raises(BrokerError) as refused:
        place.exchange(form(REFUSED[why](place, key)))
    assert refused.value.extra["oauth_error"] == "invalid_client"
    assert (place.uses.kept_until(), place.told) == ([], [])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": "agent_bot"}, "invalid_client"),
        ({"client_secret": "s"}, "invalid_client"),
        ({"client_assertion_type": "another"}, "invalid_client"),
        ({"scope": "orders-db:read"}, "invalid_scope"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
        ({"resource": "https://other.example"}, "invalid_target"),
    ],
    ids=str,
)
def test_a_form_that_asks_for_more_or_otherwise_is_refused(
    place: Place, key: ECKey, changes: dict[str, str], code: str
) -> None:
    """Each with its own word."""
    with pytest.raises(BrokerError) as refused:
        place.exchange(form(signed(place, key), **changes))
    assert refused.value.extra["oauth_error"] == code
    assert place.uses.kept_until() == []


def test_an_assertion_is_accepted_once_by_all_replicas_together(place: Place, key: ECKey) -> None:
    """Whichever name the agent uses, its `jti` is used up."""
    place.exchange(form(signed(place, key, jti="one")))
    for name in ("refund-bot", "agent_bot"):
        again = signed(place, key, jti="one", iss=name, sub=name)
        with pytest.raises(ProofReplayed) as refused:
            place.exchange(form(again))
        assert refused.value.extra["oauth_error"] == "invalid_client"


def test_a_disabled_agent_is_denied_and_not_called_a_stranger(place: Place) -> None:
    """access_denied: its key is good, and it may not."""
    made = ECKey.generate_key("P-256")
    gone = AgentIdentity("agent_gone", "gone", "binding_2", disabled=True)
    place.bindings.keys.append(ClientKey(gone, public_jwk(made)))
    with pytest.raises(AgentDisabled) as refused:
        place.exchange(form(signed(place, made, iss="gone", sub="gone")))
    assert refused.value.extra["oauth_error"] == "access_denied"


def test_a_flood_of_bad_proofs_for_a_client_does_not_lock_it_out(place: Place, key: ECKey) -> None:
    """A hundred bad assertions in its name, and two bad platform proofs; its own are taken."""
    for _ in range(100):
        with pytest.raises(BrokerError):
            place.exchange(form(stranger(place, key)))
    with pytest.raises(BrokerError):
        place.exchange(place.form(place.bot()[:-8] + "AAAAAAAA"))
    assert place.exchange(form(signed(place, key)))
    assert place.exchange(place.form(place.bot()))


def revoking(assertion: str) -> dict[str, str]:
    """A revocation by private_key_jwt."""
    return {"token": "x", "client_assertion_type": ASSERTION, "client_assertion": assertion}


def test_an_agent_revokes_by_its_own_key(place: Place, key: ECKey) -> None:
    """RFC 7009 section 2.1: as at the token endpoint, and an assertion is used once at both."""
    assertion = signed(place, key, jti="one")
    by = place.replica().revoker(revoking(assertion), [], [], f"{US}/oauth2/revoke")
    assert isinstance(by, Caller)
    assert (by.subject, by.binding_id) == ("agent_bot", "binding_key")
    with pytest.raises(ProofReplayed) as refused:
        place.exchange(form(assertion))
    assert refused.value.extra["oauth_error"] == "invalid_client"


@pytest.mark.parametrize("why", REFUSED)
def test_nobody_revokes_by_a_bad_assertion(place: Place, key: ECKey, why: str) -> None:
    """What gets no token revokes nothing."""
    with pytest.raises(BrokerError) as refused:
        place.replica().revoker(revoking(REFUSED[why](place, key)), [], [], f"{US}/oauth2/revoke")
    assert refused.value.extra["oauth_error"] == "invalid_client"
    assert place.uses.kept_until() == []


BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def test_a_platform_proof_is_an_assertion_too(place: Place) -> None:
    """RFC 7523 section 2.1: the same caller as by exchange, and the proof is used up for both."""
    proof = place.bot()
    answer = place.exchange({"grant_type": BEARER, "assertion": proof})
    assert "issued_token_type" not in answer
    assert place.call(str(answer["access_token"])).agent_id == "agent_bot"
    with pytest.raises(ProofReplayed):
        place.exchange(place.form(proof))
    job = place.exchange({"grant_type": BEARER, "assertion": place.job()})
    assert place.call(str(job["access_token"])).rule == "refunds-ci"


BEARERS: dict[str, Callable[[Place], str]] = {
    "a person's login": lambda place: place.login(),
    "for somebody else": lambda place: place.bot(aud="https://other.example"),
    "by an unknown issuer": lambda place: place.bot(iss="https://other.example"),
    "over": lambda place: place.bot(exp=int(place.now) - 1),
    "bound to nobody": lambda place: place.bot(sub="stranger"),
    "one of our own tokens": lambda place: place.token(),
    "no JWT": lambda place: "nonsense",
}


@pytest.mark.parametrize("why", BEARERS)
def test_a_bad_assertion_of_a_platform_is_an_invalid_grant(place: Place, why: str) -> None:
    """The code of this grant, where the exchange says invalid_request."""
    with pytest.raises(BrokerError) as refused:
        place.exchange({"grant_type": BEARER, "assertion": BEARERS[why](place)})
    assert refused.value.extra["oauth_error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"assertion": ""}, "invalid_request"),
        ({"scope": "orders-db:read"}, "invalid_scope"),
        ({"client_secret": "s"}, "invalid_client"),
        ({"client_assertion": "x"}, "invalid_request"),
        ({"client_id": "somebody-else"}, "invalid_grant"),
    ],
    ids=str,
)
def test_a_bearer_form_that_asks_otherwise_is_refused(
    place: Place, changes: dict[str, str], code: str
) -> None:
    """Each with its own word, and the proof is not used up."""
    asked = {"grant_type": BEARER, "assertion": place.bot(), **changes}
    with pytest.raises(BrokerError) as refused:
        place.exchange({name: value for name, value in asked.items() if value})
    assert refused.value.extra["oauth_error"] == code
    assert place.uses.kept_until() == []


def test_a_token_ends_after_the_assertion_that_got_it(place: Place, key: ECKey) -> None:
    """The assertion only says who asks; the token lives its own 300 seconds."""
    token = str(place.exchange(form(signed(place, key)))["access_token"])
    place.time.at += timedelta(seconds=200)
    assert place.call(token)
