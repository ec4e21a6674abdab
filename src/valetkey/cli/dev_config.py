"""The configuration of a dev stack: written as an administrator would, with the real ports.

`<data>/config` holds `valetkey.yaml` (written anew at each start), and the sample `catalogue/`
and `policies/`, which are copied once and then yours to edit.
"""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from valetkey.devstack import orders, process
from valetkey.devstack.folders import write_private
from valetkey.devstack.issuer.people import CLIENT_ID
from valetkey.devstack.issuer.platforms import github_claims
from valetkey.devstack.stack import Stack

_HEADER = "# Written by `valetkey dev up` at each start: edits are lost. Secrets are in files.\n"
_PORT = re.compile(r"(?m)^(address: \{host: 127\.0\.0\.1, port: )[0-9]+")
_ENDPOINT = re.compile(r'(endpoint_url: "http://127\.0\.0\.1:)[0-9]+')
_PINNED = ("repository_id", "repository_owner_id", "environment", "event_name")


@dataclass(frozen=True)
class DevServer:
    """The Valetkey of a stack: its port and its configuration file."""

    port: int
    file: Path

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def catalogue(self) -> Path:
        """The folder of its catalogue."""
        return self.file.parent / "catalogue"


def write_config(stack: Stack) -> DevServer:
    """Write the configuration of a started stack, with its secrets in files of their own."""
    folder = stack.folder.root / "config"
    folder.mkdir(mode=0o700, exist_ok=True)
    server = DevServer(process.port_for(stack.folder, "valetkey"), folder / "valetkey.yaml")
    _copy_samples(folder, stack.postgres.port, stack.aws.port)
    _write_secrets(stack)
    values = _values(stack, server)
    server.file.write_text(_HEADER + yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return server


def _copy_samples(folder: Path, postgres_port: int, aws_port: int) -> None:
    with resources.as_file(resources.files("valetkey.devstack") / "sample") as sample:
        for name in ("catalogue", "policies"):
            if not (folder / name).exists():
                shutil.copytree(sample / name, folder / name)
    _with_port(folder / "catalogue" / "orders-db.yaml", _PORT, postgres_port)
    _with_port(folder / "catalogue" / "orders-exports.yaml", _ENDPOINT, aws_port)


def _with_port(file: Path, where: re.Pattern[str], port: int) -> None:
    """Put this start's port into a file, if it is still there."""
    if file.exists():
        text = file.read_text(encoding="utf-8")
        file.write_text(where.sub(rf"\g<1>{port}", text), encoding="utf-8")


def _write_secrets(stack: Stack) -> None:
    from joserfc.jwk import ECKey

    folder = stack.folder.secrets
    for name, dsn in (("database", stack.app_dsn()), ("migration", stack.owner_dsn())):
        write_private(folder / f"{name}.url", driver_url(dsn))
    signing = folder / "signing-key.pem"
    if not signing.exists():
        write_private(signing, ECKey.generate_key("P-256").as_pem(private=True).decode())
    fingerprint = folder / "fingerprint.key"
    if not fingerprint.exists():
        write_private(fingerprint, secrets.token_urlsafe(32))


def driver_url(dsn: str) -> str:
    """A libpq URL as SQLAlchemy wants it."""
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


def _values(stack: Stack, server: DevServer) -> dict[str, Any]:
    secret = stack.folder.secrets
    return {
        "external_url": server.url,
        "catalogue": "catalogue",
        "policies": "policies",
        "signing_key_file": str(secret / "signing-key.pem"),
        "fingerprint_key_file": str(secret / "fingerprint.key"),
        "approver_groups": ["valetkey-approvers"],
        "login_client_id": CLIENT_ID,
        "database": {
            "url_file": str(secret / "database.url"),
            "migration_url_file": str(secret / "migration.url"),
            "app_role": orders.APP,
        },
        "server": {"host": "127.0.0.1", "port": server.port},
        "openbao": {
            "address": stack.openbao.address,
            "identity_token_file": str(stack.identity_token_file),
        },
        "aws": {
            "access_key_file": str(stack.aws.credentials_file),
            "external_id_file": str(stack.aws.external_id_file),
            "sts_endpoint": stack.aws.address,
            "iam_endpoint": stack.aws.address,
        },
        "issuers": _issuers(stack.issuer_url, server.url),
        "trust_rules": [
            _rule("refunds-deploy", "production", "refund-"),
            _rule("reports-deploy", "reports", "report-"),
        ],
        "roles": {
            "operator": ["valetkey-operators"],
            "approver": ["valetkey-approvers"],
            "auditor": ["valetkey-auditors"],
        },
    }


def _issuers(issuer: str, audience: str) -> list[dict[str, Any]]:
    """People, CI jobs and workloads, each with keys of its own."""
    known = ["email", "email_verified", "name", "preferred_username", "groups"]
    return [
        {
            "name": "people",
            "kind": "people",
            **_issuer(issuer, CLIENT_ID, ["ES256"]),
            "replay": "reusable_until_exp",
            "max_age": 900,
            "informative": [*known, "auth_time", "nonce"],
        },
        {
            "name": "github",
            "kind": "ci",
            "platform": "github-actions",
            **_issuer(f"{issuer}/github", audience, ["RS256"]),
        },
        {
            "name": "workloads",
            "kind": "workload",
            **_issuer(f"{issuer}/workloads", audience, ["ES256"]),
            "replay": "reusable_until_exp",
            "informative": ["kubernetes.io"],
        },
    ]


def _issuer(url: str, audience: str, algorithms: list[str]) -> dict[str, Any]:
    return {
        "issuer": url,
        "audience": audience,
        "algorithms": algorithms,
        "jwks_uri": f"{url}/.well-known/jwks",
    }


def _rule(name: str, environment: str, prefix: str) -> dict[str, Any]:
    """What the CI job of one environment of acme/refunds may provision."""
    claims = github_claims(environment, "refs/heads/main", "push")
    return {
        "name": name,
        "issuer": "github",
        "match": {claim: claims[claim] for claim in _PINNED},
        "name_prefix": prefix,
        "owners": ["olivia@example.com"],
        "teams": ["refunds"],
        "labels": {"region": ["eu", "us"], "environment": ["production"]},
        "boundary": [
            *("orders-db:read", "orders-db:write"),
            *("reports-api:export", "orders-exports:read"),
        ],
        "may_bind": ["workloads"],
    }
