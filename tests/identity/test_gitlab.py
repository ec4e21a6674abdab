"""GitLab CI/CD: what its tokens must say, and which project a rule means."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.identity.platform_doors import Door, door
from valetkey.core.errors import KeyMismatch, Unauthenticated, UnknownAgent
from valetkey.core.trust import TrustRuleTooWide, check_binding
from valetkey.testing.issuer import WITHOUT

GOOD: dict[str, object] = {
    "sub": "project_path:acme/refunds:ref_type:branch:ref:main",
    "namespace_id": "72",
    "namespace_path": "acme",
    "project_id": "20",
    "project_path": "acme/refunds",
    "job_namespace_id": "72",
    "job_namespace_path": "acme",
    "job_project_id": "20",
    "job_project_path": "acme/refunds",
    "user_id": "1",
    "user_login": "olivia",
    "user_email": "olivia@example.com",
    "user_access_level": "maintainer",
    "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "job_source": "push",
    "ref": "main",
    "ref_type": "branch",
    "ref_path": "refs/heads/main",
    "ref_protected": "true",
    "groups_direct": ["acme/payments"],
    "environment": "production",
    "environment_protected": "true",
    "deployment_tier": "production",
    "environment_action": "start",
    "runner_id": 1,
    "runner_environment": "self-hosted",
    "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    "project_visibility": "private",
    "ci_config_ref_uri": "gitlab.example.com/acme/refunds//.gitlab-ci.yml@refs/heads/main",
    "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
}
PINS = {
    "project_id": "20",
    "namespace_id": "72",
    "ref": "main",
    "ref_type": "branch",
    "ref_protected": "true",
}
OLDER = dict.fromkeys(
    ("job_project_id", "job_project_path", "job_namespace_id", "job_namespace_path"), WITHOUT
)
FORK = {
    "project_id": "99",
    "project_path": "mallory/refunds",
    "namespace_id": "66",
    "namespace_path": "mallory",
    "sub": "project_path:mallory/refunds:ref_type:branch:ref:main",
    "pipeline_source": "merge_request_event",
}


@pytest.fixture
def gitlab() -> Iterator[Door]:
    """Jobs of acme/refunds on its protected branch main."""
    with door("gitlab", GOOD, PINS) as opened:
        yield opened


def test_every_claim_of_a_job_is_accounted_for(gitlab: Door) -> None:
    """Nothing of the documented token is left to be reported; anything new is, by name."""
    assert gitlab.enter(gitlab.token(moon="full")).rule == "refunds"
    assert gitlab.told[0].unaccounted == ("moon",)
    assert gitlab.told[0].noted["job_id"] == "302"


def test_an_older_instance_is_understood(gitlab: Door) -> None:
    """It does not say where the job runs, but for merge requests that need not be said."""
    assert gitlab.enter(gitlab.token(**OLDER)).rule == "refunds"


def test_a_merge_request_within_the_project_is_its_own(gitlab: Door) -> None:
    """Both kinds of claims tell of one project."""
    assert gitlab.enter(gitlab.token(pipeline_source="merge_request_event")).rule == "refunds"


REFUSED: dict[str, dict[str, object]] = {
    "of a fork's merge request running here": FORK,
    "of our code running in another project": {"job_project_id": "99"},
    "running in another namespace": {"job_namespace_id": "66"},
    "running under another path": {"job_project_path": "mallory/refunds"},
    "of a merge request on an older instance": {
        **OLDER,
        "pipeline_source": "merge_request_event",
    },
    "of an outside pull request on an older instance": {
        **OLDER,
        "pipeline_source": "external_pull_request_event",
    },
    "with a real boolean": {"ref_protected": True},
    "with another word for yes": {"environment_protected": "yes"},
    "without a project id": {"project_id": WITHOUT},
    "with a number for an id": {"namespace_id": 72},
    "of another project by its subject": {
        "sub": "project_path:acme/other:ref_type:branch:ref:main"
    },
    "with a subject that only begins alike": {
        "sub": "project_path:acme/refunds-x:ref_type:branch:ref:main"
    },
    "for another audience": {"aud": "https://gitlab.example.com"},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_job_is_refused_when_its_token_is(gitlab: Door, why: str) -> None:
    """Each of these alone is enough."""
    with pytest.raises(Unauthenticated):
        gitlab.enter(gitlab.token(**REFUSED[why]))


@pytest.mark.parametrize(
    "changes",
    [
        {"ref_protected": "false"},
        {"ref": "feature"},
        {"ref_type": "tag"},
        {
            "project_id": "99",
            "job_project_id": "99",
            "sub": "project_id:99",
        },
    ],
    ids=str,
)
def test_a_job_that_differs_from_the_rule_is_nobody(
    gitlab: Door, changes: dict[str, object]
) -> None:
    """A good token of another place is not the rule's."""
    with pytest.raises(UnknownAgent):
        gitlab.enter(gitlab.token(**changes))


def test_a_job_may_renew_with_the_token_it_began_with(gitlab: Door) -> None:
    """GitLab gives one token for the whole job; it belongs to the first key that shows it."""
    from joserfc.jwk import ECKey

    token = gitlab.token()
    gitlab.enter(token)
    gitlab.enter(token)
    gitlab.dpop_key = ECKey.generate_key("P-256")
    with pytest.raises(KeyMismatch):
        gitlab.enter(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"project_id": ""},
        {"namespace_id": "acme"},
        {"ref_type": ""},
        {"ref_protected": "yes"},
        {"ref_protected": "True"},
    ],
    ids=str,
)
def test_a_binding_that_pins_too_little_is_refused(changes: dict[str, str]) -> None:
    """A subject alone is not enough either: paths are reused."""
    with pytest.raises(TrustRuleTooWide):
        check_binding({**PINS, **changes}.items(), "gitlab")
    with pytest.raises(TrustRuleTooWide):
        check_binding({"sub": str(GOOD["sub"])}.items(), "gitlab")
