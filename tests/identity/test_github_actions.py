"""GitHub Actions: what its tokens must say, and what a rule must pin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.identity.place import US
from tests.identity.platform_doors import Door, door
from valetkey.core.errors import Unauthenticated, UnknownAgent
from valetkey.core.trust import TrustRuleTooWide, check_binding
from valetkey.devstack.issuer.platforms import github_claims
from valetkey.testing.issuer import WITHOUT

GOOD = github_claims("production", "refs/heads/main", "push")
PINS = {
    "repository_id": "2002",
    "repository_owner_id": "1001",
    "environment": "production",
    "event_name": "push",
}
SHARED = "acme/workflows/.github/workflows/deploy.yml@refs/heads/main"
SHA = "9fceb02d0ae598e95dc970b74767f19372d61af8"


@pytest.fixture
def github() -> Iterator[Door]:
    """Jobs of acme/refunds in its environment production."""
    with door("github-actions", GOOD, PINS) as opened:
        yield opened


@pytest.mark.parametrize(
    "subject",
    [
        "repo:acme@1001/refunds@2002:environment:production",
        "repo:acme/refunds:environment:production",
        "repository_owner_id:1001:repository_id:2002",
    ],
)
def test_each_form_of_the_subject_is_understood(github: Door, subject: str) -> None:
    """With ids, with names only, and as an owner customised it."""
    assert github.enter(github.token(sub=subject)).rule == "refunds"


def test_every_claim_of_a_job_is_accounted_for(github: Door) -> None:
    """Nothing of the documented token is left to be reported; anything new is, by name."""
    github.enter(github.token(moon="full"))
    assert github.told[0].unaccounted == ("moon",)
    assert github.told[0].noted["run_id"] == "7007"


REFUSED: dict[str, dict[str, object]] = {
    "for the owner's URL, the default audience": {"aud": "https://github.com/acme"},
    "without the repository's id": {"repository_id": WITHOUT},
    "with an id as a number": {"repository_id": 2002},
    "with an id that is none": {"repository_owner_id": "acme"},
    "without an event": {"event_name": WITHOUT},
    "of a pull request": {"event_name": "pull_request"},
    "of a pull request in the base's context": {"event_name": "pull_request_target"},
    "of a review": {"event_name": "pull_request_review"},
    "of a pull request by its head": {"head_ref": "patch-1"},
    "of a pull request by its base": {"base_ref": "main"},
    "of a pull request by its subject": {"sub": "repo:acme/refunds:pull_request"},
    "of another repository by its subject": {"sub": "repo:acme/other:environment:production"},
    "of another id by its subject": {"sub": "repo:acme@1001/refunds@9:environment:production"},
    "of another owner by its subject": {"sub": "repo:acme@9/refunds@2002:environment:production"},
    "with half an id in its subject": {"sub": "repo:acme@1001/refunds:environment:production"},
    "with a look-alike subject": {"sub": "repo:acme/refunds/x:environment:production"},
    "of another environment by its subject": {"sub": "repo:acme/refunds:environment:staging"},
    "with an environment that does not hide the ref": {
        "sub": "repo:acme/refunds:ref:refs/heads/main"
    },
    "with an environment that is no text": {"environment": ["production"]},
    "with a ref other than its subject's": {
        "sub": "repo:acme/refunds:ref:refs/heads/main",
        "environment": WITHOUT,
        "ref": "refs/heads/evil",
    },
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_job_is_refused_when_its_token_is(github: Door, why: str) -> None:
    """Each of these alone is enough."""
    with pytest.raises(Unauthenticated):
        github.enter(github.token(**REFUSED[why]))


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": WITHOUT, "sub": "repo:acme/refunds:ref:refs/heads/main"},
        {"repository_id": "2003", "sub": "x"},
        {"event_name": "workflow_dispatch"},
    ],
    ids=str,
)
def test_a_job_that_differs_from_the_rule_is_nobody(
    github: Door, changes: dict[str, object]
) -> None:
    """A good token of another place is not the rule's."""
    with pytest.raises(UnknownAgent):
        github.enter(github.token(**changes))


def test_a_job_without_environment_is_known_by_its_ref(github: Door) -> None:
    """The other way to pin a place."""
    github.pins = {**PINS, "ref": "refs/heads/main", "ref_type": "branch"}
    del github.pins["environment"]
    plain = {"environment": WITHOUT, "sub": "repo:acme/refunds:ref:refs/heads/main"}
    assert github.enter(github.token(**plain)).rule == "refunds"


def test_a_colon_in_a_name_is_written_as_its_code(github: Door) -> None:
    """`%3A` in the subject is `:` in the claim."""
    github.pins["environment"] = "prod:eu"
    said = {"environment": "prod:eu", "sub": "repo:acme/refunds:environment:prod%3Aeu"}
    assert github.enter(github.token(**said)).rule == "refunds"


@pytest.mark.parametrize(
    "pin",
    [{"job_workflow_ref": SHARED}, {"job_workflow_sha": SHA}],
    ids=lambda pin: next(iter(pin)),
)
def test_a_workflow_of_another_repository_must_be_pinned(github: Door, pin: dict[str, str]) -> None:
    """Else whoever may write there could act as this repository."""
    token = github.token(job_workflow_ref=SHARED)
    with pytest.raises(UnknownAgent, match="job_workflow_ref"):
        github.enter(token)
    github.pins.update(pin)
    assert github.enter(github.token(job_workflow_ref=SHARED)).rule == "refunds"


@pytest.mark.parametrize("name", ["repository_id", "repository_owner_id", "event_name"])
def test_a_rule_without_what_is_demanded_lets_nobody_in(github: Door, name: str) -> None:
    """However the rule came to be: it is looked at with each proof."""
    github.kind = "workload"
    del github.pins[name]
    with pytest.raises(UnknownAgent, match="too wide"):
        github.enter(github.token())


@pytest.mark.parametrize(
    "changes",
    [
        {"event_name": "pull_request"},
        {"repository_id": "acme"},
        {"environment": ""},
        {"event_name": ""},
    ],
    ids=str,
)
def test_a_binding_that_pins_too_little_is_refused(changes: dict[str, str]) -> None:
    """A subject alone is not enough either: names are reused."""
    with pytest.raises(TrustRuleTooWide):
        check_binding({**PINS, **changes}.items(), "github-actions")
    with pytest.raises(TrustRuleTooWide):
        check_binding({"sub": str(GOOD["sub"])}.items(), "github-actions")


def test_a_binding_that_pins_ids_place_and_event_can_be_made() -> None:
    """Just the four."""
    assert check_binding(PINS.items(), "github-actions") is None


@pytest.mark.parametrize("audience", ["https://github.com/acme", "the issuer's own"])
def test_the_platforms_default_audience_cannot_be_registered(github: Door, audience: str) -> None:
    """Any job of that owner has such a token, made for whoever reads it."""
    github.record["audience"] = audience if "github" in audience else github.issuer.url
    with pytest.raises(ValueError, match="default"):
        github.enter(github.token(aud=US))


def test_people_do_not_come_from_github_actions(github: Door) -> None:
    """A platform has the kinds that make sense for it."""
    github.record["kind"] = "people"
    github.kind = "workload"
    with pytest.raises(ValueError, match="kind"):
        github.enter(github.token())
