"""A second target beside the sample one, behind a line that can be frozen.

It is another mount of OpenBao, with a connection user, an inspector and a catalogue file of its own;
behind the line stands the same PostgreSQL. A frozen line acknowledges and says nothing, like a
server all of whose processes were stopped.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import yaml

from tests.faults.ground import Ground
from tests.faults.proxy import PostgresProxy, between_postgres
from valetkey.devstack import bao_policies, orders
from valetkey.minters.pins import openbao_policy
from valetkey.policy.catalogue import load_catalogue

SECOND_READ = "second-db:read{region=eu}"
MOUNT = "database-second"
MANAGER, INSPECTOR = "second_manager", "second_inspector"


@contextmanager
def second_target(ground: Ground, folder: Path) -> Iterator[tuple[Ground, PostgresProxy]]:
    """The same stack with two targets, and the line to the second."""
    with between_postgres(ground.stack.postgres.port) as line:
        both = _files(ground, folder, line.port)
        _roles(ground)
        _pin(both)
        _mount(both, line.port)
        yield both, line
        line.thaw()


def _files(ground: Ground, folder: Path, port: int) -> Ground:
    shutil.copytree(ground.folder, folder)
    target = yaml.safe_load((folder / "catalogue" / "orders-db.yaml").read_text())
    target |= {"target": "second-db", "mount": MOUNT, "connections": ["second-0", "second-1"]}
    target |= {"inspector": "second-inspector"}
    target["address"]["port"] = port
    text = yaml.safe_dump(target, width=200).replace("valetkey_manager", MANAGER)
    (folder / "catalogue" / "second-db.yaml").write_text(text)
    return replace(ground, folder=folder)


def _roles(ground: Ground) -> None:
    for name, what in ((MANAGER, "LOGIN CREATEROLE"), (INSPECTOR, "LOGIN")):
        there = ground.look("SELECT 1 FROM pg_roles WHERE rolname = %s", name)
        if not there:
            ground.look(f"CREATE ROLE {name} {what}")
    for name in (*orders.GROUPS, INSPECTOR):
        ground.look(f"GRANT {name} TO {MANAGER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
    ground.look(f"GRANT pg_signal_backend TO {MANAGER}; GRANT pg_monitor TO {INSPECTOR}")
    ground.look(f"GRANT CONNECT ON DATABASE orders TO {MANAGER}, {INSPECTOR}")


def _pin(both: Ground) -> None:
    catalogue = load_catalogue(both.folder / "catalogue")
    pins = openbao_policy(catalogue, ("second-db",), both.installation)
    options = both.stack.options
    both.stack.options = replace(
        options, writer_policies={**options.writer_policies, "second-db": pins}
    )
    both.stack.provision()


def _mount(both: Ground, port: int) -> None:
    bao = both.stack.openbao.as_root()
    if f"{MOUNT}/" not in bao.read("sys/mounts")["data"]:
        bao.write(f"sys/mounts/{MOUNT}", type="database")
    password = secrets.token_urlsafe(24)
    both.look(f"ALTER ROLE {MANAGER} PASSWORD '{password}'")
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/orders?sslmode=disable"
    common = {"plugin_name": "postgresql-database-plugin", "connection_url": url}
    common |= {"username": MANAGER, "password": password}
    common |= {"password_authentication": "scram-sha-256"}
    for connection in ("second-0", "second-1"):
        bao.write(
            f"{MOUNT}/config/{connection}",
            **common,
            allowed_roles=["vk-*", "end-vk-*"],
            username_template="{{.RoleName}}",
        )
    bao.write(f"{MOUNT}/config/second-inspect", **common, allowed_roles=["second-inspector"])
    bao.write(
        f"{MOUNT}/static-roles/second-inspector",
        db_name="second-inspect",
        username=INSPECTOR,
        rotation_period="86400s",
    )
    for name in ("reader", "ender", "inspector"):
        text: str = getattr(bao_policies, name.upper())
        also = text.replace("database-orders", MOUNT).replace("orders-insp", "second-insp")
        bao.write(f"sys/policies/acl/valetkey-{name}", policy=text + also)
