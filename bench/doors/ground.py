"""The doorstep: one broker on one database that signs its credentials itself, and who knocks.

There is no OpenBao behind it, so that what is measured is the doors, the deciding and the writing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from joserfc.jwk import ECKey

from bench.ground import ISSUER, LIMITS, SAMPLE, TOKENS, new_keys, sqlalchemy_url
from valetkey.devstack.process import port_for
from valetkey.devstack.stack import Stack
from valetkey.store.migrations import migrate
from valetkey.testing.issuer import public_jwk

SERVER = "reports"
PLATFORM = "https://platform.invalid"
NAME = "doors"


@dataclass(frozen=True)
class Doorstep:
    """Where everything is."""

    folder: Path
    url: str

    def config(self, catalogue: str) -> Path:
        """The settings file of the broker."""
        return self.folder / f"{catalogue}.yaml"

    @property
    def keys(self) -> Path:
        """The private keys of the platform and of the resource server, as JWKs."""
        return self.folder / "keys.json"


def on_stack(folder: Path, stack: Stack) -> Doorstep:
    """On the stack's own database."""
    owner, app = sqlalchemy_url(stack.owner_dsn()), sqlalchemy_url(stack.app_dsn())
    return prepare(folder, (owner, app), port_for(stack.folder, "bench"))


def prepare(folder: Path, database: tuple[str, str], port: int) -> Doorstep:
    """Migrate and write every file; `database` is its address as owner and as application."""
    owner, app = database
    migrate(owner)
    place = Doorstep(folder, f"http://127.0.0.1:{port}")
    (folder / "app.url").write_text(app)
    new_keys(folder)
    platform, server = (ECKey.generate_key("P-256", auto_kid=True) for _ in range(2))
    _write(place.keys, {name: key.as_dict(private=True) for name, key in
                        (("platform", platform), ("server", server))})  # fmt: skip
    for name, key in (("platform", platform), ("server", server)):
        _write(folder / f"{name}.jwks", {"keys": [public_jwk(key)]})
    _files(folder)
    _write(place.config(NAME), _settings(place, port))
    return place


def _files(folder: Path) -> None:
    """The catalogue of the one target whose credentials we sign, and the rules about it."""
    catalogue, policies = folder / "catalogue", folder / "policies"
    for made in (catalogue, policies):
        made.mkdir()
    target = SAMPLE / "catalogue" / f"{TOKENS}.yaml"
    (catalogue / target.name).write_text(target.read_text())
    permit = 'permit (principal, action, resource) when { principal.team == "refunds" };'
    (policies / "all.cedar").write_text(f'@id("all")\n@max_ttl("8h")\n{permit}\n')


def _settings(place: Doorstep, port: int) -> dict[str, Any]:
    target = yaml.safe_load((place.folder / "catalogue" / f"{TOKENS}.yaml").read_text())
    return {
        "external_url": place.url,
        "signing_key_file": "signing.pem",
        "fingerprint_key_file": "fingerprint.key",
        "database": {"url_file": "app.url"},
        "times": {"tick": "PT1S"},
        "limits": LIMITS,
        "server": {"port": port},
        "issuers": [
            {
                "name": ISSUER,
                "kind": "workload",
                "issuer": PLATFORM,
                "audience": place.url,
                "algorithms": ["ES256"],
                "jwks_file": "platform.jwks",
                "replay": "reusable_until_exp",
            }
        ],
        "resource_servers": [
            {"client_id": SERVER, "audience": target["audience"], "jwks_file": "server.jwks"}
        ],
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
    path.chmod(0o600)
