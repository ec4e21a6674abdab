"""Token exchange: for oneself, for CI jobs within a rule, and for people by their groups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.identity.place import ALLOWS, ID_TOKEN, JWT, MATCH, TOKEN_URL, US, Place
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    InvalidDpopProof,
    InvalidRequest,
    NotReady,
    OutsideTrustRule,
    TrustRuleTooWide,
    Unauthenticated,
    UnknownAgent,
)
from valetkey.core.scope import Scope
from valetkey.core.trust import Allowance, Provision, TrustRule
from valetkey.identity.authenticator import Authenticator, Behind, Registered
from valetkey.identity.bindings import AgentIdentity
from valetkey.identity.oauth import read_form
from valetkey.testing.issuer import WITHOUT, Answer

_TYPE = "urn:ietf:params:oauth:token-type:"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": "client_credentials"}, "invalid_client"),
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"subject_token_type": f"{_TYPE}refresh_token"}, "invalid_request"),
        ({"subject_token_type": f"{_TYPE}saml2"}, "invalid_request"),
        ({"subject_token_type": f"{_TYPE}access_token"}, "invalid_request"),
        ({"subject_token_type": f"{_TYPE}unsigned_json"}, "invalid_request"),
        ({"subject_token_type": ID_TOKEN}, "invalid_request"),
        ({"requested_token_type": f"{_TYPE}refresh_token"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"actor_token_type": JWT}, "invalid_request"),
        ({"client_id": "somebody-else"}, "invalid_request"),
        ({"client_secret": "s"}, "invalid_client"),
        ({"scope": "orders-db:read"}, "invalid_scope"),
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"audience": "https://other.example"}, "invalid_target"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
    ],
)
def test_a_form_that_asks_for_more_than_oneself_is_refused(
    place: Place, changes: dict[str, str], code: str
) -> None:
    """Each has its RFC 6749 or 8693 code, and the proof is not used up."""
    form = place.form(place.bot())
    with pytest.raises(BrokerError) as refused:
        place.exchange({**form, **changes})
    assert refused.value.extra["oauth_error"] == code
    assert place.uses.kept_until() == []
    assert place.exchange(form)


@pytest.mark.parametrize("name", ["grant_type", "subject_token", "subject_token_type"])
def test_a_form_without_a_needed_parameter_is_refused(place: Place, name: str) -> None:
    """The refusal names the parameter."""
    form = place.form(place.bot())
    del form[name]
    with pytest.raises(InvalidRequest, match=name):
        place.exchange(form)


def test_the_standard_optional_parameters_are_understood(place: Place) -> None:
    """Naming our own API as the target and an access token as the type changes nothing."""
    wanted = {"resource": US, "audience": US, "requested_token_type": f"{_TYPE}access_token"}
    assert place.exchange({**place.form(place.bot()), **wanted})


def test_an_exchange_without_a_dpop_proof_is_refused(place: Place) -> None:
    """Every token is bound to a proven key."""
    with pytest.raises(InvalidDpopProof) as refused:
        place.replica().exchange(place.form(place.bot()), [], TOKEN_URL)
    assert refused.value.extra["oauth_error"] == "invalid_dpop_proof"


def test_a_stranger_causes_nothing_to_be_written(place: Place) -> None:
    """A good DPoP proof with a bad platform proof leaves no trace in the store."""
    with pytest.raises(Unauthenticated):
        place.exchange(place.form(place.bot(aud="other")))
    assert place.uses.kept_until() == []


def test_an_identity_without_a_binding_is_no_agent(place: Place) -> None:
    """A good proof is not enough."""
    with pytest.raises(UnknownAgent):
        place.exchange(place.form(place.bot(sub="system:serviceaccount:other:bot")))


def test_a_disabled_agent_gets_no_token(place: Place) -> None:
    """It is told so, as access_denied."""
    disabled = AgentIdentity("agent_x", "x", "binding_x", disabled=True)
    place.bindings.listed.insert(0, ("workloads", {"sub": "x"}, disabled))
    with pytest.raises(AgentDisabled) as refused:
        place.exchange(place.form(place.bot(sub="x")))
    assert refused.value.extra["oauth_error"] == "access_denied"


def test_a_binding_can_pin_a_member_inside_a_claim(place: Place) -> None:
    """Kubernetes puts the service account's uid two objects deep."""
    agent = AgentIdentity("agent_k", "k", "binding_k")
    pins = {"kubernetes.io/serviceaccount/uid": "u-1"}
    place.bindings.listed.append(("workloads", pins, agent))
    inside = {"kubernetes.io": {"serviceaccount": {"name": "k", "uid": "u-1"}}}
    assert place.exchange(place.form(place.bot(sub="k", **inside)))
    assert place.told[-1].caller.agent == "k"


def test_a_job_that_matches_a_trust_rule_may_provision(place: Place) -> None:
    """It is a CI caller under that rule, and no agent."""
    answer = place.exchange(place.form(place.job()))
    caller = place.call(str(answer["access_token"]))
    assert (caller.kind, caller.rule, caller.agent_id) == ("ci", "refunds-ci", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"repository_id": "2003"},
        {"repository_owner_id": "1002"},
        {"environment": "staging"},
        {"environment": "production "},
        {"environment": WITHOUT},
        {"event_name": "pull_request_target"},
        {"repository_id": 2002},
        {"repository_id": ["2002"]},
    ],
    ids=str,
)
def test_a_job_that_differs_in_one_pinned_claim_is_refused(
    place: Place, changes: dict[str, object]
) -> None:
    """Rules match exactly, by id; a renamed or look-alike repository is another one."""
    with pytest.raises(UnknownAgent):
        place.exchange(place.form(place.job(**changes)))


def test_a_renamed_repository_with_an_at_subject_still_matches_by_id(place: Place) -> None:
    """Names are not what is pinned."""
    renamed = {"sub": "repo:acme%3Aco@1001/new@2002:environment:production"}
    assert place.exchange(place.form(place.job(repository="acme/new", **renamed)))


def test_a_job_can_be_an_agent_by_a_binding(place: Place) -> None:
    """A job that matches no rule may still be bound to an agent."""
    agent = AgentIdentity("agent_m", "migrator", "binding_m")
    place.bindings.listed.append(("github", {"environment": "migrate"}, agent))
    answer = place.exchange(place.form(place.job(environment="migrate")))
    assert place.call(str(answer["access_token"])).agent == "migrator"


def test_a_job_that_two_rules_match_is_refused(place: Place) -> None:
    """Which of them would bound it is not ours to guess."""
    registered = place.registered()
    twice = (*registered.rules, TrustRule("again", "github", MATCH, ALLOWS))
    behind = Behind(place.uses, place.bindings, place.time.now)
    both = Authenticator(US, place.keys, Registered(registered.issuers, twice), behind)
    with pytest.raises(UnknownAgent, match="several"):
        both.exchange(place.form(place.job()), [place.dpop("POST", TOKEN_URL)], TOKEN_URL)


@pytest.mark.parametrize(
    "match",
    [
        {"environment": "production"},
        {"repository_id": "1", "environment": "p"},
        {"repository_owner_id": "1", "environment": "p"},
        {"project_id": "1", "environment": "p"},
        {"repository_id": "1", "repository_owner_id": "2"},
        {"repository_id": "1", "repository_owner_id": "2", "ref": "refs/heads/main"},
        {"repository_id": "1", "repository_owner_id": "2", "environment": ""},
        {"repository_id": "1", "repository_owner_id": "2", "environment": "*"},
        {"repository_id": "1", "repository_owner_id": "2", "environment": "prod-*"},
    ],
    ids=str,
)
def test_a_trust_rule_that_pins_too_little_cannot_be_made(match: dict[str, str]) -> None:
    """Ids of repository and owner, with an environment or ref, and no wildcard."""
    with pytest.raises(TrustRuleTooWide):
        TrustRule("wide", "github", match, ALLOWS)


@pytest.mark.parametrize(
    "match",
    [
        {"repository_id": "1", "repository_owner_id": "2", "environment": "p"},
        {"repository_id": "1", "repository_owner_id": "2", "ref": "r", "ref_type": "tag"},
        {"project_id": "1", "namespace_id": "2", "ref": "main", "ref_type": "branch"},
    ],
    ids=str,
)
def test_a_trust_rule_that_pins_enough_can_be_made(match: dict[str, str]) -> None:
    """For GitHub and GitLab."""
    assert TrustRule("good", "ci", match, ALLOWS).matches(dict(match))


READ = Scope.parse("orders-db:read{region=eu}")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"name": "billing-bot"}, "name"),
        ({"owner": "mallory@example.com"}, "owner"),
        ({"team": "billing"}, "team"),
        ({"labels": {"environment": "test"}}, "label"),
        ({"labels": {"tier": "1"}}, "label"),
        ({"boundary": (Scope.parse("orders-db:read{region=us}"),)}, "boundary"),
        ({"boundary": (Scope.parse("orders-db:read"),)}, "boundary"),
        ({"bind_issuers": frozenset({"github"})}, "binding"),
    ],
)
def test_a_provision_outside_its_rule_is_refused(changes: dict[str, object], part: str) -> None:
    """The refusal names the part that is outside."""
    allows = Allowance(
        "refund-",
        frozenset({"olivia@example.com"}),
        frozenset({"refunds"}),
        {"environment": frozenset({"production"})},
        (READ,),
        frozenset({"workloads"}),
    )
    rule = TrustRule("refunds-ci", "github", MATCH, allows)
    wanted: dict[str, object] = {
        "name": "refund-bot",
        "owner": "olivia@example.com",
        "team": "refunds",
        "labels": {"environment": "production"},
        "boundary": (READ,),
        "bind_issuers": frozenset({"workloads"}),
    }
    rule.bounds(Provision(**wanted))  # type: ignore[arg-type]
    with pytest.raises(OutsideTrustRule, match=part):
        rule.bounds(Provision(**{**wanted, **changes}))  # type: ignore[arg-type]


def test_a_person_has_the_roles_of_their_groups(place: Place) -> None:
    """Only groups that mean something are kept; the login's time and nonce come along."""
    answer = place.exchange(place.form(place.login(nonce="grant_1"), ID_TOKEN))
    olivia = place.call(str(answer["access_token"]))
    assert olivia.kind == "person"
    assert (olivia.groups, olivia.roles) == (frozenset({"ops"}), frozenset({"operator"}))
    assert (olivia.email, olivia.fresh_for) == ("olivia@example.com", "grant_1")
    assert olivia.auth_time == datetime.fromtimestamp(int(place.now) - 5, UTC)


@pytest.mark.parametrize("verified", [False, WITHOUT, "true", 1], ids=str)
def test_an_email_address_that_is_not_verified_is_not_believed(
    place: Place, verified: object
) -> None:
    """Owners are known by e-mail; anybody could have typed this one."""
    place.exchange(place.form(place.login(email_verified=verified), ID_TOKEN))
    assert place.told[-1].caller.email is None


@pytest.mark.parametrize(
    "changes",
    [
        {"azp": "other-client"},
        {"auth_time": "now"},
        {"auth_time": 2**53},
        {"auth_time": True},
        {"nonce": ["a"]},
        {"nonce": "n" * 300},
    ],
    ids=str,
)
def test_a_login_with_a_wrong_detail_is_refused(place: Place, changes: dict[str, object]) -> None:
    """OpenID Connect Core 3.1.3.7."""
    with pytest.raises(Unauthenticated):
        place.exchange(place.form(place.login(**changes), ID_TOKEN))


def test_a_login_later_than_its_proof_is_refused(place: Place) -> None:
    """A login cannot be fresher than the token that tells of it."""
    with pytest.raises(Unauthenticated):
        place.exchange(place.form(place.login(auth_time=int(place.now) + 90), ID_TOKEN))


def test_a_persons_proof_goes_under_its_own_type_only(place: Place) -> None:
    """An ID token as `jwt`, or a workload's proof as `id_token`, is refused."""
    with pytest.raises(Unauthenticated):
        place.exchange(place.form(place.login(), JWT))


@pytest.mark.parametrize(
    "body",
    [
        b"a=1&a=2",
        b"a=1&a=",
        b"a",
        b"a=%ff",
        b"\xff=1",
        b"a=1&" * 70 + b"b=1",
        b"a=" + b"x" * 40_000,
    ],
    ids=["twice", "twice, once empty", "no value", "not UTF-8", "not ASCII", "many", "large"],
)
def test_a_form_that_is_not_clear_is_refused(body: bytes) -> None:
    """One value per name, UTF-8, bounded."""
    with pytest.raises(InvalidRequest):
        read_form(body)


def test_a_clear_form_is_read() -> None:
    """Percent-encoding is decoded, empty parameters count as left out (RFC 6749 3.2)."""
    assert read_form(b"a=1%2B1&b=&c=x+y") == {"a": "1+1", "c": "x y"}


def test_a_token_that_cannot_be_told_of_does_not_leave(place: Place) -> None:
    """If the fact cannot be written, no token is answered."""

    def fail(_: object) -> None:
        raise OSError("the store is away")

    behind = Behind(place.uses, place.bindings, place.time.now, told=fail)
    replica = Authenticator(US, place.keys, place.registered(), behind)
    with pytest.raises(OSError, match="away"):
        replica.exchange(place.form(place.bot()), [place.dpop("POST", TOKEN_URL)], TOKEN_URL)


def test_an_expired_token_opens_nothing(place: Place) -> None:
    """Five minutes later it is over."""
    token = place.token()
    place.time.at += timedelta(seconds=301)
    with pytest.raises(BrokerError) as refused:
        place.call(token)
    assert refused.value.code == "token_expired"


def test_an_issuer_that_is_away_is_our_fault_and_not_the_proofs(place: Place) -> None:
    """It is answered as not ready, to be tried again, and the proof stays unused."""
    place.workloads.answer = Answer(503)
    form = place.form(place.bot())
    with pytest.raises(NotReady) as refused:
        place.exchange(form)
    assert "oauth_error" not in refused.value.extra
    assert refused.value.retry_after
    place.workloads.answer = None
    assert place.exchange(form)
