"""A second target that may hang or go away: the same database under a wire of its own.

It has its own mount, connections, manager and inspector at OpenBao, for the broker and for the
direct side, so that nothing is shared with the first but OpenBao itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg

from bench.ground import DIRECT_MOUNT, FOUR, SECOND, Ground, make_manager
from bench.growth.filling import variant
from bench.growth.wire import Wire
from valetkey.core.catalogue import CataloguedScope, Target
from valetkey.core.scope import Scope
from valetkey.core.statements import database_role
from valetkey.devstack import orders, provision
from valetkey.minters.pins import openbao_policy, role_body
from valetkey.policy.catalogue import load_catalogue
from valetkey.store.sql_store import open_store

MOUNT, INSPECTOR, MANAGER = "database-second", "second_inspector", "second_manager"
DIRECT = "second-direct"
SETTINGS = "two"


@dataclass(frozen=True)
class Second:
    """The wire to it, and the settings of a broker that has both targets."""

    wire: Wire
    settings: str


@contextmanager
def second_target(ground: Ground, **changes: object) -> Iterator[Second]:
    """Both targets provisioned; `changes` are settings by nested name."""
    wire = Wire(ground.stack.postgres.port)
    target = _catalogue(ground, wire.port)
    password = provision.new_password()
    make_manager(ground.stack, MANAGER, password)
    _make_inspector(ground)
    _pin(ground)
    _mount(ground, target, wire.port, password)
    _open_policies(ground)
    settings = variant(ground, SETTINGS, catalogue=f"catalogue-{SETTINGS}", **changes)
    try:
        yield Second(wire, settings)
    finally:
        wire.close()


def _catalogue(ground: Ground, port: int) -> Target:
    """The first target's file, and it again under another name, behind the wire."""
    place = ground.folder / f"catalogue-{SETTINGS}"
    if not place.exists():
        shutil.copytree(ground.folder / "catalogue-four", place)
    text = (place / "orders-db.yaml").read_text()
    for before, after in (
        (FOUR, SECOND),
        (f"port: {ground.stack.postgres.port}", f"port: {port}"),
        (provision.MOUNT, MOUNT),
        (orders.MANAGER, MANAGER),
        ("inspector: orders-inspector", "inspector: second-inspector"),
    ):
        text = text.replace(before, after)
    (place / "second-db.yaml").write_text(text)
    return load_catalogue(place).targets[SECOND]


def _make_inspector(ground: Ground) -> None:
    with psycopg.connect(ground.stack.superuser_dsn(), autocommit=True) as connection:
        row = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [INSPECTOR]).fetchone()
        if row is None:
            connection.execute(f"CREATE ROLE {INSPECTOR} LOGIN")
        connection.execute(f"GRANT pg_monitor TO {INSPECTOR}")
        connection.execute(f"GRANT CONNECT ON DATABASE orders TO {INSPECTOR}")
        connection.execute(
            f"GRANT {INSPECTOR} TO {MANAGER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
        )


def _pin(ground: Ground) -> None:
    """The writer may write this target's roles too."""
    store = open_store((ground.folder / "app.url").read_text())
    installation = store.installation()
    store.close()
    catalogue = load_catalogue(ground.folder / f"catalogue-{SETTINGS}")
    pins = {**ground.stack.options.writer_policies}
    pins[SECOND] = openbao_policy(catalogue, (SECOND,), installation)
    ground.stack.options = replace(ground.stack.options, writer_policies=pins)
    ground.stack.provision()


def _mount(ground: Ground, target: Target, port: int, password: str) -> None:
    """Both sides' mounts, with connections through the wire, and the direct side's roles."""
    root = ground.stack.openbao.as_root()
    there = root.read("sys/mounts")["data"]
    for mount in (MOUNT, DIRECT):
        if f"{mount}/" not in there:
            root.write(f"sys/mounts/{mount}", type="database")
        for number, lane in enumerate((*target.connections, "inspecting")):
            allowed = ["*"] if mount == DIRECT else ["vk-*", "end-vk-*", "second-inspector"]
            root.write(
                f"{mount}/config/{lane}",
                plugin_name="postgresql-database-plugin",
                connection_url=(
                    f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}"
                    "/orders?sslmode=disable"
                ),
                username=MANAGER,
                password=password,
                password_authentication="scram-sha-256",
                allowed_roles=allowed,
                **({"username_template": "{{.RoleName}}"} if mount == MOUNT else {}),
                max_open_connections=4,
                max_idle_connections=2,
            )
            if mount == DIRECT and lane in target.connections:
                scope = Scope.parse(f"{SECOND}:read{{region=eu}}")
                wanted = CataloguedScope(scope, target, target.scopes[scope.name], "")
                body = role_body(database_role(wanted, lane), timedelta(minutes=5))
                root.write(f"{DIRECT}/roles/ready-{number}", **body)
    root.write(
        f"{MOUNT}/static-roles/second-inspector",
        db_name="inspecting",
        username=INSPECTOR,
        rotation_period="86400s",
    )


def _open_policies(ground: Ground) -> None:
    """What our logins may do at the first mount, they may do at the second."""
    root = ground.stack.openbao.as_root()
    for name in ("valetkey-reader", "valetkey-ender", "valetkey-inspector", "bench-direct"):
        text = str(root.read(f"sys/policies/acl/{name}")["data"]["policy"])
        more = text.replace(provision.MOUNT, MOUNT).replace("orders-inspector", "second-inspector")
        more = more.replace(DIRECT_MOUNT, DIRECT)
        kept = [block for block in _blocks(more) if block not in text]
        root.write(f"sys/policies/acl/{name}", policy="\n".join([text, *kept]))


def _blocks(policy: str) -> list[str]:
    """Each `path ... { ... }` by itself."""
    parts = policy.split('\npath "')
    return [f'path "{part}' for part in parts[1:]]
