"""Tokens that platforms give to what runs on them: CI jobs and workloads of the dev stack.

A caller shows the request token it holds (a 0600 file, one per sample workload and one for the
CI job) and gets a signed token for the audience it names. The shapes are those of GitHub Actions
(`ACTIONS_ID_TOKEN_REQUEST_URL`, RS256, immutable ids in `sub`) and of a Kubernetes projected
service-account token.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query
from fastapi.responses import JSONResponse

from valetkey.devstack.issuer.keys import Realm
from valetkey.devstack.issuer.logins import OAuthError
from valetkey.devstack.issuer.people import WORKLOADS, Register

CI_LIFE = 300
WORKLOAD_LIFE = 600
_SHA = "9fceb02d0ae598e95dc970b74767f19372d61af8"
_WORKFLOW = "acme/refunds/.github/workflows/deploy.yml"

Audience = Annotated[str, Query(min_length=1, max_length=300)]


def add_platforms(app: FastAPI, realms: dict[str, Realm], register: Register) -> None:
    """Add the CI and workload token endpoints to `app`."""

    @app.get("/github/idtoken")
    def ci_token(
        audience: Audience,
        authorization: Annotated[str, Header()] = "",
        environment: str = "production",
        ref: str = "refs/heads/main",
        event_name: str = "push",
    ) -> JSONResponse:
        if not register.is_ci(_bearer(authorization)):
            raise OAuthError("invalid_token", "unknown request token", 401)
        claims = github_claims(environment, ref, event_name) | {"aud": audience}
        value = realms["github"].sign(claims, life=CI_LIFE, alg="RS256")
        return JSONResponse({"value": value, "count": 1}, headers={"Cache-Control": "no-store"})

    @app.get("/workloads/token")
    def workload_token(
        audience: Audience,
        authorization: Annotated[str, Header()] = "",
        life: Annotated[int, Query(ge=1, le=WORKLOAD_LIFE)] = WORKLOAD_LIFE,
    ) -> JSONResponse:
        name = register.workload(_bearer(authorization))
        if name is None:
            raise OAuthError("invalid_token", "unknown request token", 401)
        value = realms["workloads"].sign(workload_claims(name) | {"aud": [audience]}, life=life)
        return JSONResponse({"value": value}, headers={"Cache-Control": "no-store"})


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""


def github_claims(environment: str, ref: str, event_name: str) -> dict[str, Any]:
    """Return the claims of a GitHub Actions job of acme/refunds, all but the standard times.

    Ids are pinned in `sub` (`owner@id/repo@id`); an empty `environment` gives the `ref` form.
    """
    condition = f"environment:{environment}" if environment else f"ref:{ref}"
    claims = {
        "sub": f"repo:acme@1001/refunds@2002:{condition}",
        "nbf": int(time.time()) - 300,
        "ref": ref,
        "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
        "ref_protected": "true",
        "sha": _SHA,
        "repository": "acme/refunds",
        "repository_id": "2002",
        "repository_owner": "acme",
        "repository_owner_id": "1001",
        "repository_visibility": "private",
        "actor": "olivia",
        "actor_id": "3003",
        "workflow": "deploy",
        "workflow_ref": f"{_WORKFLOW}@{ref}",
        "workflow_sha": _SHA,
        "job_workflow_ref": f"{_WORKFLOW}@{ref}",
        "job_workflow_sha": _SHA,
        "head_ref": "",
        "base_ref": "",
        "event_name": event_name,
        "run_id": "7007",
        "run_number": "42",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
    }
    return claims | ({"environment": environment} if environment else {})


def workload_claims(name: str) -> dict[str, Any]:
    """Return the claims of a Kubernetes-style token of the sample workload `name`."""
    subject = WORKLOADS[name]
    return {
        "sub": subject,
        "kubernetes.io": {
            "namespace": subject.split(":")[2],
            "pod": {"name": f"{name}-0", "uid": _uid(f"pod/{subject}")},
            "serviceaccount": {"name": name, "uid": _uid(subject)},
        },
    }


def _uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
