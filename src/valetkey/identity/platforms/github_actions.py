"""GitHub Actions, on github.com, GHE.com or an Enterprise Server.

Vendor documentation: "OpenID Connect reference" of GitHub Actions. Two forms of `sub` are in use:
`repo:OWNER/REPO:...` and, for repositories made, renamed or transferred since July 2026,
`repo:OWNER@ID/REPO@ID:...`; a colon inside a value is written %3A. A job with an environment has
`environment:NAME` there and hides its ref. Names are only compared with each other: rules and
bindings pin ids (core/pins.py).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from valetkey.core.pins import GITHUB_PULL_REQUESTS
from valetkey.core.trust import IssuerRecord
from valetkey.identity.jose import BadToken, VerifiedClaims, text
from valetkey.identity.platforms.profile import Claims, Habits, Profile, optional_text

_SUBJECT: Final = re.compile(
    r"repo:(?P<owner>[^/:@]+)(@(?P<owner_id>[0-9]+))?"
    r"/(?P<repo>[^/:@]+)(@(?P<repo_id>[0-9]+))?(:(?P<rest>.+))?"
)
_NUMBER: Final = re.compile(r"[0-9]+")


def _check(claims: VerifiedClaims, record: IssuerRecord) -> None:
    for name in ("repository_id", "repository_owner_id"):
        if not _NUMBER.fullmatch(text(claims, name)):
            raise BadToken(f"{name} is not a number written as text")
    text(claims, "repository")
    _refuse_pull_requests(claims)
    subject = text(claims, "sub")
    if subject.startswith("repo:"):  # an owner may have chosen another form altogether
        _check_subject(subject, claims)


def _refuse_pull_requests(claims: Claims) -> None:
    """No token tells whether a pull request came from a fork, so none of any is accepted."""
    heads = [optional_text(claims, name) for name in ("head_ref", "base_ref")]
    if text(claims, "event_name") in GITHUB_PULL_REQUESTS or any(heads):
        raise BadToken("the job ran for a pull request, which may have come from a fork")


def _check_subject(subject: str, claims: Claims) -> None:
    """The subject and the claims tell of one repository and one place."""
    parts = _SUBJECT.fullmatch(subject)
    if parts is None or (parts["owner_id"] is None) != (parts["repo_id"] is None):
        raise BadToken("sub is in neither form of this platform")
    named = f"{parts['owner']}/{parts['repo']}".replace("%3A", ":")
    ids = (parts["owner_id"], parts["repo_id"])
    if named != claims["repository"] or ids not in (
        (None, None),
        (claims["repository_owner_id"], claims["repository_id"]),
    ):
        raise BadToken("sub and the claims tell of different repositories")
    _check_place(parts["rest"] or "", claims)


def _check_place(rest: str, claims: Claims) -> None:
    kind, _, value = rest.partition(":")
    environment = optional_text(claims, "environment")
    ref = optional_text(claims, "ref")
    if kind == "pull_request":
        raise BadToken("the job ran for a pull request, which may have come from a fork")
    if kind == "environment" and value.replace("%3A", ":") != environment:
        raise BadToken("sub and the claims tell of different environments")
    if kind == "ref" and (value != ref or environment):
        raise BadToken("sub and the claims tell of different refs")


def _must_pin(claims: Claims) -> frozenset[str]:
    """A workflow that another repository keeps does what that repository says: pin it."""
    repository, workflow = claims.get("repository"), claims.get("job_workflow_ref")
    if workflow is None or str(workflow).startswith(f"{repository}/"):
        return frozenset()
    return frozenset({"job_workflow_ref", "job_workflow_sha"})


def _check_record(record: IssuerRecord) -> None:
    if record.audience.startswith("https://github.com/"):
        raise ValueError(f"issuer {record.name}: the audience is the platform's default")


PROFILE: Final = Profile(
    platform="github-actions",
    kinds=frozenset({"ci", "workload"}),
    habits=Habits(
        algorithms=frozenset({"RS256"}),
        max_age=timedelta(minutes=15),
        max_life=timedelta(minutes=15),
    ),
    checked=frozenset(
        {"repository", "repository_id", "repository_owner_id", "event_name", "environment"}
        | {"ref", "ref_type", "head_ref", "base_ref", "job_workflow_ref", "job_workflow_sha"}
        | {"runner_environment", "ref_protected"}
    ),
    ignored=frozenset(
        {"actor", "actor_id", "repository_owner", "repository_visibility", "sha", "run_id"}
        | {"run_number", "run_attempt", "check_run_id", "workflow", "workflow_ref"}
        | {"workflow_sha", "enterprise", "enterprise_id", "environment_node_id"}
    ),
    check=_check,
    check_record=_check_record,
    must_pin=_must_pin,
    noted=("repository", "run_id", "run_attempt", "sha", "job_workflow_ref", "actor_id"),
)
