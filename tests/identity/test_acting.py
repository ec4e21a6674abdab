"""An agent gets a token for a person: only with that person's word, and never as that person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest

from tests.identity.place import BOT, EXCHANGE, ID_TOKEN, JWT, US, Place, ec_key
from valetkey.core.errors import (
    BrokerError,
    DelegationRefused,
    KeyMismatch,
    ProofReplayed,
    TokenExpired,
    Unauthenticated,
)
from valetkey.core.principal import Caller
from valetkey.testing.issuer import WITHOUT

AGENTS = "valetkey-agents"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


@pytest.fixture
def delegating(place: Place) -> Place:
    """A place whose people may pass tokens on to agents; nobody said anything here yet."""
    place.people_changes = {"on_behalf_audience": AGENTS}
    return place


def said(place: Place, **claims: object) -> str:
    """Olivia's own token, made for agents and naming this one, with changes."""
    actor = {"iss": place.workloads.url, "sub": BOT}
    return place.login(**{"aud": AGENTS, "may_act": actor, "jti": f"j{place.now}", **claims})


def form(place: Place, subject: str, actor: str, **changes: str) -> Mapping[str, str]:
    """The exchange of both."""
    return {
        "grant_type": EXCHANGE,
        "subject_token": subject,
        "subject_token_type": ID_TOKEN,
        "actor_token": actor,
        "actor_token_type": JWT,
        **changes,
    }


def acted(place: Place, **claims: object) -> tuple[Caller, dict[str, Any]]:
    """The caller that a good exchange gives, and the claims of its token."""
    answer = place.exchange(form(place, said(place, **claims), place.bot()))
    token = str(answer["access_token"])
    return place.call(token), jwt.decode(token, options={"verify_signature": False})


def test_the_token_is_for_the_person_and_says_who_acts(delegating: Place) -> None:
    """`sub` is the person, `act` the agent and nothing else; the caller is the agent."""
    caller, claims = acted(delegating)
    olivia = f"{delegating.people.url} olivia"
    assert (claims["sub"], claims["act"]) == (olivia, {"sub": "agent_bot"})
    assert claims["client_id"] == "agent_bot"
    assert (caller.kind, caller.agent_id, caller.roles, caller.email) == (
        "agent",
        "agent_bot",
        frozenset(),
        None,
    )
    assert caller.acting is not None
    assert (caller.acting.person.principal, caller.acting.person.email) == (
        olivia,
        "olivia@example.com",
    )
    assert caller.acting.person.groups == ("ops",)
    assert caller.acting.until == delegating.time.at.replace(microsecond=0) + timedelta(seconds=300)
    assert delegating.told[-1].caller.acting == caller.acting
    assert "may_act" not in delegating.told[-1].unaccounted


def test_a_word_given_here_does_as_well(delegating: Place) -> None:
    """Without `may_act`, where the person let the agent act; then the token sets no end itself."""
    delegating.lets_act = {(f"{delegating.people.url} olivia", "agent_bot")}
    caller, _ = acted(delegating, may_act=WITHOUT)
    assert caller.acting is not None
    assert caller.acting.until is None


@pytest.mark.parametrize(
    "may_act",
    [
        WITHOUT,
        None,
        {},
        "agent_bot",
        {"sub": BOT},
        {"iss": "https://elsewhere", "sub": BOT},
        {"iss": US, "sub": "agent_other"},
        {"iss": US, "sub": "agent_bot", "email": "x@example.com"},
        [{"iss": US, "sub": "agent_bot"}],
    ],
)
def test_whoever_is_not_named_does_not_act(delegating: Place, may_act: object) -> None:
    """Issuer and subject exactly, and nothing that we could not check."""
    token = said(delegating, may_act=may_act)
    with pytest.raises(DelegationRefused) as refused:
        delegating.exchange(form(delegating, token, delegating.bot()))
    assert refused.value.extra["oauth_error"] == "invalid_request"


def test_the_agent_may_be_named_as_we_know_it(delegating: Place) -> None:
    """By our own issuer and its id."""
    caller, _ = acted(delegating, may_act={"iss": US, "sub": "agent_bot"})
    assert caller.acting is not None


def test_a_token_that_names_another_is_not_mended_by_a_word_given_here(delegating: Place) -> None:
    """It was made for that other one."""
    delegating.lets_act = {(f"{delegating.people.url} olivia", "agent_bot")}
    with pytest.raises(DelegationRefused):
        acted(delegating, may_act={"iss": US, "sub": "agent_other"})


def test_a_login_is_never_passed_on_and_what_is_passed_on_is_no_login(delegating: Place) -> None:
    """Each audience is for its own door, with and without an actor."""
    login, passed = delegating.login(), said(delegating)
    with pytest.raises(Unauthenticated):
        delegating.exchange(form(delegating, login, delegating.bot()))
    alone = {"grant_type": EXCHANGE, "subject_token": passed, "subject_token_type": ID_TOKEN}
    with pytest.raises(Unauthenticated) as refused:
        delegating.exchange(alone)
    assert refused.value.extra["oauth_error"] == "invalid_request"
    both = said(delegating, aud=[AGENTS, "valetkey-cli"])
    for asked in (form(delegating, both, delegating.bot()), {**alone, "subject_token": both}):
        with pytest.raises(Unauthenticated):
            delegating.exchange(asked)


def test_without_an_audience_for_it_nobody_acts_for_people(place: Place) -> None:
    """The default."""
    with pytest.raises(BrokerError):
        place.exchange(form(place, said(place), place.bot()))


@pytest.mark.parametrize(
    "claims",
    [
        {"act": {"sub": "agent_bot"}},
        {"email_verified": False},
        {"email": WITHOUT},
        {"azp": "another-app"},
        {"cnf": {"jkt": "another key"}},
        {"exp": 1},
    ],
)
def test_a_persons_token_that_is_not_in_order_lets_nobody_act(
    delegating: Place, claims: dict[str, object]
) -> None:
    """An actor that the client wrote, an unproven address, another app, another key, the past."""
    with pytest.raises(BrokerError) as refused:
        acted(delegating, **claims)
    assert refused.value.extra["oauth_error"] == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_token_type": JWT},
        {"subject_token_type": ACCESS},
        {"actor_token_type": ID_TOKEN},
        {"actor_token": ""},
        {"client_id": "agent_other"},
        {"requested_token_type": ID_TOKEN},
        {"client_assertion": "x"},
    ],
)
def test_a_form_of_another_shape_is_refused(delegating: Place, changes: dict[str, str]) -> None:
    """Nothing is used up by it."""
    good = form(delegating, said(delegating), delegating.bot())
    with pytest.raises(BrokerError):
        delegating.exchange({**good, **changes})
    assert delegating.exchange(good)


def test_a_person_or_a_job_is_no_actor(delegating: Place) -> None:
    """Only agents act for people."""
    for actor in (delegating.job(), delegating.bot(sub="nobody")):
        with pytest.raises(BrokerError):
            delegating.exchange(form(delegating, said(delegating), actor))


def test_the_actors_proof_is_used_once(delegating: Place) -> None:
    """Replayed with another person's token it is refused."""
    proof = delegating.bot()
    assert delegating.exchange(form(delegating, said(delegating), proof))
    with pytest.raises(ProofReplayed):
        delegating.exchange(form(delegating, said(delegating, jti="other"), proof))


def test_a_token_of_ours_proves_the_actor_by_the_same_key(delegating: Place) -> None:
    """Whatever door the agent came by; with another key, revoked or bounded it does not."""
    own = str(delegating.exchange(delegating.form(delegating.bot()))["access_token"])
    asked = form(delegating, said(delegating), own, actor_token_type=ACCESS)
    given = str(delegating.exchange(asked)["access_token"])
    caller = delegating.call(given)
    assert caller.acting is not None
    assert caller.token_id != delegating.call(own).token_id
    with pytest.raises(Unauthenticated):  # what acts for somebody acts for nobody else
        delegating.exchange({**asked, "actor_token": given})
    kept, delegating.dpop_key = delegating.dpop_key, ec_key()
    with pytest.raises(KeyMismatch):
        delegating.exchange({**asked, "subject_token": said(delegating, jti="k")})
    delegating.dpop_key = kept
    delegating.uses.revoked.add(delegating.call(own).token_id)
    with pytest.raises(TokenExpired):
        delegating.exchange({**asked, "subject_token": said(delegating, jti="r")})


def test_such_a_token_never_outlives_what_it_came_from(delegating: Place) -> None:
    """Neither the person's token nor the agent's."""
    caller, _ = acted(delegating, exp=int(delegating.now) + 40)
    assert caller.expires_at.timestamp() <= delegating.now + 40


def test_introspection_says_who_acts_for_whom(delegating: Place) -> None:
    """`act` names the agent; a token of the agent's own has none."""
    answer = delegating.exchange(form(delegating, said(delegating), delegating.bot()))
    told = delegating.replica().about_token(str(answer["access_token"]))
    assert (told["act"], told["client_id"]) == ({"sub": "agent_bot"}, "agent_bot")
    assert str(told["sub"]).endswith(" olivia")
    own = delegating.exchange(delegating.form(delegating.bot()))
    assert "act" not in delegating.replica().about_token(str(own["access_token"]))


def test_a_record_whose_audiences_are_one_is_refused(place: Place) -> None:
    """And one that is not of people."""
    for changes in ({"on_behalf_audience": US}, {"on_behalf_audience": AGENTS}):
        with pytest.raises(ValueError, match="on_behalf_audience"):
            place.record(**changes)
    people = place.record(kind="people", on_behalf_audience=AGENTS)
    with pytest.raises(ValueError, match="on_behalf_audience"):
        replace(people, audience=AGENTS)
