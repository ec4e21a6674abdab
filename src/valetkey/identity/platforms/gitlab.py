"""GitLab CI/CD, on gitlab.com or an instance of one's own.

Vendor documentation: "OpenID Connect (OIDC) authentication using ID tokens". Booleans are the
texts "true" and "false". In the pipeline of a merge request from a fork `project_*` tells of the
fork whose code runs, and `job_project_*` of the project where it runs. Here a rule's `project_id`
means both: a token in which they differ is refused, and so is one of a merge request that does
not say where it runs, as older instances do not.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from valetkey.core.trust import IssuerRecord
from valetkey.identity.jose import BadToken, VerifiedClaims, text
from valetkey.identity.platforms.profile import Claims, Habits, Profile, optional_text

_NUMBER: Final = re.compile(r"[0-9]+")
_PAIRS: Final = (
    ("project_id", "job_project_id"),
    ("project_path", "job_project_path"),
    ("namespace_id", "job_namespace_id"),
    ("namespace_path", "job_namespace_path"),
)
_REQUESTS: Final = frozenset({"merge_request_event", "external_pull_request_event"})


def _check(claims: VerifiedClaims, record: IssuerRecord) -> None:
    for name in ("project_id", "namespace_id"):
        if not _NUMBER.fullmatch(text(claims, name)):
            raise BadToken(f"{name} is not a number written as text")
    for name in ("ref_protected", "environment_protected"):
        if claims.get(name, "true") not in ("true", "false"):
            raise BadToken(f'{name} is neither "true" nor "false"')
    if any(job in claims and claims[job] != claims.get(own) for own, job in _PAIRS):
        raise BadToken("the job runs the code of another project, perhaps of a fork")
    request = optional_text(claims, "pipeline_source") in _REQUESTS
    if request and "job_project_id" not in claims:
        raise BadToken("the job ran for a merge request, which may have come from a fork")
    _check_subject(text(claims, "sub"), claims)


def _check_subject(subject: str, claims: Claims) -> None:
    """`project_path:GROUP/PROJECT:...`, unless the project chose other parts."""
    path = optional_text(claims, "project_path")
    if subject.startswith("project_path:") and not subject.startswith(f"project_path:{path}:"):
        raise BadToken("sub and the claims tell of different projects")


PROFILE: Final = Profile(
    platform="gitlab",
    kinds=frozenset({"ci", "workload"}),
    habits=Habits(
        algorithms=frozenset({"RS256"}),
        max_age=timedelta(hours=1),
        replay="reusable_until_exp",
    ),
    checked=frozenset(
        {"project_id", "project_path", "namespace_id", "namespace_path", "pipeline_source"}
        | {"job_project_id", "job_project_path", "job_namespace_id", "job_namespace_path"}
        | {"ref", "ref_type", "ref_protected", "environment", "environment_protected"}
        | {"ci_config_ref_uri", "ci_config_sha", "runner_environment"}
    ),
    ignored=frozenset(
        {"user_id", "user_login", "user_email", "user_access_level", "user_identities"}
        | {"pipeline_id", "job_id", "ref_path", "deployment_tier", "environment_action"}
        | {"runner_id", "sha", "project_visibility", "groups_direct", "job_source"}
        | {"job_policy_ref_uri", "job_policy_ref_sha", "scoped_user_id"}
    ),
    check=_check,
    noted=("project_path", "pipeline_id", "job_id", "sha", "user_login"),
)
