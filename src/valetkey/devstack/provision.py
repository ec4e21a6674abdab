"""Provisioning of PostgreSQL and OpenBao as an administrator would do it; safe to run again.

Needs the superuser and the root token, and is the only code that uses them. What the Valetkey
server gets from it is four narrow ways in: OpenBao logins by JWT as `valetkey-writer`,
`valetkey-reader`, `valetkey-ender` and `valetkey-inspector` (`bao_policies`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from valetkey.devstack import orders
from valetkey.devstack.bao_api import Bao, BaoRefused
from valetkey.devstack.bao_policies import ENDER, INSPECTOR, READER

MOUNT = "database-orders"
LANES = ("orders-0", "orders-1", "orders-2", "orders-3")
INSPECTOR_CONNECTION = "orders-inspect"
INSPECTOR_ROLE = "orders-inspector"
CLAIMS_MOUNT = "valetkey"
JWT_MOUNT = "jwt"
AUDIENCE = "openbao"
SERVER_SUBJECT = "valetkey-server"
DAY = 24 * 3600


@dataclass(frozen=True)
class Trust:
    """Whose tokens OpenBao accepts for the Valetkey server: `iss` and public keys as PEM."""

    issuer: str
    public_keys: Sequence[str]


def provision_postgres(admin_dsn: Mapping[str, str], passwords: Mapping[str, str]) -> None:
    """Make roles, databases, the sample target and its rows.

    `admin_dsn` maps each of postgres, valetkey and orders to a superuser DSN for it; `passwords`
    maps login roles to passwords. Raises psycopg.Error when the server refuses.
    """
    with psycopg.connect(admin_dsn["postgres"], autocommit=True) as connection:
        _run(connection, orders.roles())
        for role, password in passwords.items():
            set_password(connection, role, password)
        for name, owner in orders.databases():
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            if found.fetchone() is None:
                connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
        _run(connection, orders.connect_rights())
    for name, statements in (
        ("valetkey", orders.valetkey_schema()),
        ("orders", orders.orders_schema()),
    ):
        with psycopg.connect(admin_dsn[name]) as connection:
            _run(connection, statements)


def _run(connection: psycopg.Connection, statements: Iterable[str]) -> None:
    connection.execute(";\n".join(statements))


def set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    """Give `role` a password."""
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
    )


def provision_openbao(
    bao: Bao,
    orders_port: int,
    manager_password: str,
    trust: Trust,
    writer_policies: Mapping[str, str],
) -> None:
    """Make mounts, connections, the static role, the four policies and the four JWT roles.

    `bao` carries the root token. `writer_policies` maps target name to the ACL policy (HCL) that
    pins what the writer may write there; calling again with other text replaces it. Raises
    BaoRefused when OpenBao refuses a step.
    """
    _mounts(bao)
    _connections(bao, orders_port, manager_password)
    _static_role(bao)
    _policies(bao, writer_policies)
    _logins(bao, trust, [f"valetkey-writer-{target}" for target in sorted(writer_policies)])


def _mounts(bao: Bao) -> None:
    mounts = bao.read("sys/mounts")["data"]
    if f"{MOUNT}/" not in mounts:
        bao.write(f"sys/mounts/{MOUNT}", type="database")
    bao.write(f"sys/mounts/{MOUNT}/tune", max_lease_ttl=f"{DAY}s", default_lease_ttl="900s")
    if f"{CLAIMS_MOUNT}/" not in mounts:
        bao.write(f"sys/mounts/{CLAIMS_MOUNT}", type="kv", options={"version": "2"})
    if f"{JWT_MOUNT}/" not in bao.read("sys/auth")["data"]:
        bao.write(f"sys/auth/{JWT_MOUNT}", type="jwt")


def _connections(bao: Bao, port: int, password: str) -> None:
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/orders?sslmode=disable"
    common = {
        "plugin_name": "postgresql-database-plugin",
        "connection_url": url,
        "username": orders.MANAGER,
        "password": password,
        "password_authentication": "scram-sha-256",
    }
    for lane in LANES:
        bao.write(
            f"{MOUNT}/config/{lane}",
            **common,
            allowed_roles=["vk-*", "end-vk-*"],
            username_template="{{.RoleName}}",
            max_open_connections=4,
            max_idle_connections=2,
        )
    bao.write(
        f"{MOUNT}/config/{INSPECTOR_CONNECTION}",
        **common,
        allowed_roles=[INSPECTOR_ROLE],
    )


def _static_role(bao: Bao) -> None:
    bao.write(
        f"{MOUNT}/static-roles/{INSPECTOR_ROLE}",
        db_name=INSPECTOR_CONNECTION,
        username=orders.INSPECTOR,
        rotation_period=f"{DAY}s",
    )


def _policies(bao: Bao, writer_policies: Mapping[str, str]) -> None:
    fixed = {
        "valetkey-reader": READER,
        "valetkey-ender": ENDER,
        "valetkey-inspector": INSPECTOR,
    }
    writers = {f"valetkey-writer-{target}": text for target, text in writer_policies.items()}
    for name, text in (fixed | writers).items():
        bao.write(f"sys/policies/acl/{name}", policy=text)
    for name in bao.names("sys/policies/acl"):
        if name.startswith("valetkey-writer-") and name not in writers:
            bao.delete(f"sys/policies/acl/{name}")


def _logins(bao: Bao, trust: Trust, writer_policies: list[str]) -> None:
    bao.write(
        f"auth/{JWT_MOUNT}/config",
        jwt_validation_pubkeys=list(trust.public_keys),
        bound_issuer=trust.issuer,
        jwt_supported_algs=["ES256", "RS256"],
    )
    hour = {"token_type": "service", "token_ttl": "1h", "token_max_ttl": f"{DAY}s"}
    kinds: dict[str, tuple[list[str], dict[str, str]]] = {
        "valetkey-writer": (
            writer_policies,
            {"token_type": "batch", "token_ttl": "60s", "token_max_ttl": "60s"},
        ),
        "valetkey-reader": (
            ["valetkey-reader"],
            {"token_type": "service", "token_period": f"{DAY}s"},
        ),
        "valetkey-ender": (["valetkey-ender"], hour),
        "valetkey-inspector": (["valetkey-inspector"], hour),
    }
    for role, (policies, life) in kinds.items():
        bao.write(
            f"auth/{JWT_MOUNT}/role/{role}",
            role_type="jwt",
            user_claim="sub",
            bound_subject=SERVER_SUBJECT,
            bound_audiences=[AUDIENCE],
            token_policies=policies,
            token_no_default_policy=True,
            **life,
        )


def new_password() -> str:
    """Return a fresh random password (256 bits) that is written nowhere."""
    return secrets.token_urlsafe(32)


__all__ = [
    "BaoRefused",
    "Trust",
    "new_password",
    "provision_openbao",
    "provision_postgres",
]
