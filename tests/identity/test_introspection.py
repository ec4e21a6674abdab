"""Introspection: only for registered resource servers that prove themselves, about their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from joserfc.jwk import ECKey

from tests.identity.place import ASSERTION, TOKEN_URL, US, Place
from valetkey.core.errors import BrokerError, ProofReplayed
from valetkey.testing.issuer import WITHOUT


def ask(place: Place, assertion: str, **more: str) -> dict[str, object]:
    """Introspect a token as the resource server."""
    form = {"client_assertion_type": ASSERTION, "client_assertion": assertion, **more}
    return dict(place.replica().introspect(form))


def stranger(place: Place) -> str:
    """An assertion by another key."""
    place.server_key, known = ECKey.generate_key("P-256"), place.server_key
    try:
        return place.assertion()
    finally:
        place.server_key = known


def times(iat: int = 0, exp: int = 60) -> Callable[[Place], str]:
    """An assertion with moved times."""
    return lambda place: place.assertion(iat=int(place.now) + iat, exp=int(place.now) + exp)


REFUSED: dict[str, Callable[[Place], str]] = {
    "for the token endpoint": lambda place: place.assertion(aud=TOKEN_URL),
    "for an array of one": lambda place: place.assertion(aud=[US]),
    "for us and another": lambda place: place.assertion(aud=[US, "https://evil.example"]),
    "without audience": lambda place: place.assertion(aud=WITHOUT),
    "by one about another": lambda place: place.assertion(sub="other"),
    "by somebody unknown": lambda place: place.assertion(iss="other", sub="other"),
    "without jti": lambda place: place.assertion(jti=WITHOUT),
    "without end": lambda place: place.assertion(exp=WITHOUT),
    "longer than 300 s": times(exp=301),
    "over": times(iat=-100, exp=-1),
    "from the future": times(iat=60, exp=120),
    "of type JWT": lambda place: place.assertion({"typ": "JWT"}),
    "of no type": lambda place: place.assertion({"typ": WITHOUT}),
    "a DPoP proof by type": lambda place: place.assertion({"typ": "dpop+jwt"}),
    "of unknown kid": lambda place: place.assertion({"kid": "other"}),
    "signed by a stranger": stranger,
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_resource_server_is_refused_when_its_assertion_is(place: Place, why: str) -> None:
    """As invalid_client, and nothing is used up."""
    token = place.token()
    used = len(place.uses.kept_until())
    with pytest.raises(BrokerError) as refused:
        ask(place, REFUSED[why](place), token=token)
    assert refused.value.extra["oauth_error"] == "invalid_client"
    assert len(place.uses.kept_until()) == used


@pytest.mark.parametrize(
    "more",
    [{"client_id": "other"}, {"client_secret": "s"}, {"client_assertion_type": "other"}],
    ids=str,
)
def test_a_form_that_contradicts_the_assertion_is_refused(
    place: Place, more: dict[str, str]
) -> None:
    """Another client id, a shared secret, another kind of assertion."""
    with pytest.raises(BrokerError) as refused:
        ask(place, place.assertion(), token="t", **more)
    assert refused.value.extra["oauth_error"] == "invalid_client"


def test_an_assertion_is_accepted_once_by_all_replicas_together(place: Place) -> None:
    """It is remembered in the store."""
    assertion = place.assertion()
    ask(place, assertion, token="t")
    with pytest.raises(ProofReplayed) as refused:
        ask(place, assertion, token="t")
    assert refused.value.extra["oauth_error"] == "invalid_client"


def test_a_live_token_is_active_and_a_dead_or_foreign_one_is_only_inactive(place: Place) -> None:
    """The reason is nobody's business."""
    token = place.token()
    answer = ask(place, place.assertion(), token=token, client_id="orders-api")
    assert (answer["active"], answer["sub"]) == (True, "agent_bot")
    assert answer["cnf"] == {"jkt": place.dpop_key.thumbprint()}
    assert ask(place, place.assertion(), token="nonsense") == {"active": False}
    assert ask(place, place.assertion(), token=place.bot()) == {"active": False}
    place.time.at += timedelta(seconds=301)
    assert ask(place, place.assertion(), token=token) == {"active": False}


def test_the_metadata_names_what_is_offered(place: Place) -> None:
    """RFC 8414, with the issuer that tokens carry."""
    said = place.replica().metadata()
    assert said["issuer"] == US
    assert said["token_endpoint"] == TOKEN_URL
    assert place.replica().jwks()["keys"]
