"""The ground both sides are measured on: one durable stack, and what each side needs beside it.

The broker's side gets an installation with the sample policies, and three catalogues: the sample
one (four lanes), and the same database over a single connection configuration. The direct side
gets a mount of its own on the same database, ready-made roles with the very statements that the
broker's roles have, and a token that may mint and end.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from valetkey import devstack
from valetkey.core.catalogue import Catalogue, CataloguedScope
from valetkey.core.scope import Scope
from valetkey.core.statements import DatabaseRole, database_role
from valetkey.devstack import orders, provision
from valetkey.devstack.process import port_for
from valetkey.devstack.stack import Options, Stack
from valetkey.minters.pins import openbao_policy, role_body
from valetkey.policy.catalogue import load_catalogue
from valetkey.store.migrations import migrate
from valetkey.store.sql_store import open_store

SAMPLE = Path(devstack.__file__).parent / "sample"
ISSUER = "cluster"
DIRECT_MOUNT = "database-direct"
TTL = timedelta(minutes=5)
TICK = "PT0.2S"
AT_AWS = "minter: aws-sts"
LIMITS = {
    "leases_per_task": 5000,
    "leases_per_agent": 5000,
    "leases_per_target": 5000,
    "leases_in_all": 20000,
    "open_tasks": 5000,
    "rate": 100000,
    "burst": 8000,
}
"""One agent stands for all of them here, and must not be slowed down."""
FOUR, ONE, TOKENS, SECOND = "orders-db", "orders-one", "reports-api", "second-db"
SCOPES = {
    FOUR: "orders-db:read{region=eu}",
    ONE: "orders-one:read{region=eu}",
    TOKENS: "reports-api:export{report=daily}",
    SECOND: "second-db:read{region=eu}",
}
_DIRECT_POLICY = f"""
path "{DIRECT_MOUNT}/creds/*" {{ capabilities = ["read"] }}
path "sys/leases/revoke" {{ capabilities = ["update"] }}
path "sys/leases/revoke-prefix/{DIRECT_MOUNT}/creds/*" {{ capabilities = ["update", "sudo"] }}
path "auth/token/create" {{ capabilities = ["create", "update"] }}
path "auth/token/revoke-accessor" {{ capabilities = ["update"] }}
"""


@dataclass(frozen=True)
class Ground:
    """Where everything is. `config(catalogue)` names the settings file of one broker."""

    folder: Path
    stack: Stack
    url: str
    direct_token: str

    def config(self, catalogue: str) -> Path:
        """The settings file of the broker whose catalogue is `four` or `one`."""
        return self.folder / f"{catalogue}.yaml"

    def direct(self) -> dict[str, str]:
        """What a direct client needs."""
        return {"address": self.stack.openbao.address, "token": self.direct_token}


Prepared = TypeVar("Prepared")


class Standing(Generic[Prepared]):
    """A context: the stack up and tended while inside, gone without a trace after.

    What is given is what `prepare` makes of it.
    """

    def __init__(self, folder: Path, prepare: Callable[[Path, Stack], Prepared]) -> None:
        self._folder, self._prepare = folder, prepare
        self._stack = Stack(folder / "stack", Options(durable=True))
        self._done = threading.Event()
        self._tending = threading.Thread(
            target=self._stack.tend_until, args=[self._done], daemon=True
        )

    def __enter__(self) -> Prepared:
        self._stack.start()
        self._tending.start()
        return self._prepare(self._folder, self._stack)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._tending.join(timeout=30)
        self._stack.stop()
        self._stack.destroy()
        shutil.rmtree(self._folder, ignore_errors=True)


def prepare(folder: Path, stack: Stack) -> Ground:
    """Migrate, write files, pin the catalogues, make the direct side's mount and roles."""
    url = f"http://127.0.0.1:{port_for(stack.folder, 'bench')}"
    owner = sqlalchemy_url(stack.owner_dsn())
    migrate(owner)
    store = open_store(sqlalchemy_url(stack.app_dsn()))
    installation = store.installation()
    store.close()
    catalogues = _catalogues(folder, stack.postgres.port)
    _settings(folder, stack, url)
    pins = {
        name: openbao_policy(catalogue, (name,), installation)
        for catalogue in catalogues
        for name, target in catalogue.targets.items()
        if target.minter == "openbao-database"
    }
    stack.options = replace(stack.options, writer_policies=pins)
    stack.provision()
    return Ground(folder, stack, url, _direct_side(stack, catalogues[0]))


def sqlalchemy_url(dsn: str) -> str:
    """A libpq URL as SQLAlchemy wants it for psycopg."""
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


def _catalogues(folder: Path, port: int) -> list[Catalogue]:
    """Catalogue and policies, twice: as in the sample, and with the narrowed target."""
    written = []
    for name in ("four", "one"):
        for kind, pattern in (("catalogue", "*.yaml"), ("policies", "*.cedar")):
            place = folder / f"{kind}-{name}"
            place.mkdir()
            for path in (SAMPLE / kind).glob(pattern):
                text = path.read_text().replace("port: 5432", f"port: {port}")
                if AT_AWS in text:
                    continue  # there is no AWS here
                text = text.replace("orders-exports", FOUR)  # in policies: of a target there is
                text = text.replace('@max_ttl("30m")', '@max_ttl("8h")')
                (place / path.name).write_text(_narrowed(text) if name == "one" else text)
        written.append(load_catalogue(folder / f"catalogue-{name}"))
    return written


def _narrowed(text: str) -> str:
    """The sample target under another name, over one connection configuration."""
    lanes = "connections: [orders-0, orders-1, orders-2, orders-3]"
    for before in ("target: ", '"'):
        text = text.replace(f"{before}{FOUR}", f"{before}{ONE}")
    return text.replace(lanes, "connections: [orders-0]")


def _settings(folder: Path, stack: Stack, url: str) -> None:
    (folder / "app.url").write_text(sqlalchemy_url(stack.app_dsn()))
    new_keys(folder)
    for name in ("four", "one"):
        text = json.dumps(_values(stack, url, name), indent=1)
        (folder / f"{name}.yaml").write_text(text)


def new_keys(folder: Path) -> None:
    """A broker's own two keys, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "signing.pem").write_bytes(pem)
    (folder / "fingerprint.key").write_text(secrets.token_hex(32))


def _values(stack: Stack, url: str, name: str) -> dict[str, Any]:
    return {
        "external_url": url,
        "catalogue": f"catalogue-{name}",
        "policies": f"policies-{name}",
        "signing_key_file": "signing.pem",
        "fingerprint_key_file": "fingerprint.key",
        "approver_groups": ["valetkey-approvers"],
        "database": {"url_file": "app.url"},
        "times": {"tick": TICK},
        "limits": LIMITS,
        "server": {"port": int(url.rpartition(":")[2])},
        "openbao": {
            "address": stack.openbao.address,
            "identity_token_file": str(stack.identity_token_file),
        },
        "issuers": [
            {
                "name": ISSUER,
                "kind": "workload",
                "issuer": f"{stack.issuer_url}/workloads",
                "audience": url,
                "algorithms": ["ES256"],
                "jwks_uri": f"{stack.issuer_url}/workloads/.well-known/jwks",
                "replay": "reusable_until_exp",
                "informative": ["kubernetes.io"],
            }
        ],
    }


def _direct_side(stack: Stack, catalogue: Catalogue) -> str:
    """Mount, connections, ready-made roles with the broker's own statements; its token."""
    root = stack.openbao.as_root()
    if f"{DIRECT_MOUNT}/" not in root.read("sys/mounts")["data"]:
        root.write(f"sys/mounts/{DIRECT_MOUNT}", type="database")
    password = provision.new_password()
    manager = "direct_manager"
    make_manager(stack, manager, password)
    target = catalogue.targets[FOUR]
    for number, lane in enumerate(target.connections):
        root.write(
            f"{DIRECT_MOUNT}/config/{lane}",
            plugin_name="postgresql-database-plugin",
            connection_url=(
                f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{stack.postgres.port}"
                "/orders?sslmode=disable"
            ),
            username=manager,
            password=password,
            password_authentication="scram-sha-256",
            allowed_roles=["*"],
            max_open_connections=4,
            max_idle_connections=2,
        )
        scope = Scope.parse(SCOPES[FOUR])
        wanted = CataloguedScope(scope, target, target.scopes[scope.name], "")
        role: DatabaseRole = database_role(wanted, lane)
        body = json.loads(json.dumps(role_body(role, TTL)).replace(orders.MANAGER, manager))
        root.write(f"{DIRECT_MOUNT}/roles/ready-{number}", **body)
    root.write("sys/policies/acl/bench-direct", policy=_DIRECT_POLICY)
    made = root.write(
        "auth/token/create-orphan", policies=["bench-direct", "default"], period="24h"
    )
    return str(made["auth"]["client_token"])


def make_manager(stack: Stack, name: str, password: str) -> None:
    """A connection user with exactly the rights of the broker's own."""
    import psycopg

    with psycopg.connect(stack.superuser_dsn(), autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
        if found is None:
            connection.execute(f"CREATE ROLE {name} LOGIN CREATEROLE")
        for group in orders.GROUPS:
            connection.execute(f"GRANT {group} TO {name} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        connection.execute(f"GRANT pg_signal_backend TO {name}")
        connection.execute(f"GRANT CONNECT ON DATABASE orders TO {name}")
        provision.set_password(connection, name, password)
