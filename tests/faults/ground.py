"""The ground that faults are tried on: a real stack, a broker's files, and looks from outside.

Everything is shorter than in production by the scale of `SCALE`: a mint may begin calls for 3 s,
OpenBao works on one request for 2.5 s, the second tap comes 3 s later, a claim lasts 2 s. With
`VALETKEY_FAULT_TIMES=production` nothing is shortened, and every wait may take longer.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import uuid6
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

import valetkey.devstack
from valetkey.bootstrap import House, build_house, load_settings
from valetkey.core.agent import Agent, AgentState
from valetkey.core.ask import Ask
from valetkey.core.errors import StoreUnavailable
from valetkey.core.ids import encode_id
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.devstack.folders import write_private
from valetkey.devstack.stack import Stack
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.flows.verdicts import Issued
from valetkey.identity.keys import SigningKeys
from valetkey.minters.pins import openbao_policy, pinned_targets
from valetkey.policy.catalogue import load_catalogue
from valetkey.ports import Minter
from valetkey.store.migrations import migrate
from valetkey.store.sql_store import open_store

SCALE: Mapping[str, object] = {
    "mint_limit": 3,
    "second_tap": 3,
    "claim": 2,
    "answer_within": 2,
    "tick": "PT0.2S",
    "reconcile_every": 600,
    "probe_every": 0,
    "hung_after": "PT1.5S",
    "leave_alone": 1,
    "longest_retry": 2,
    "stuck_after": 600,
    "stuck_after_tries": 60,
}
REQUEST_LIMIT = "2500ms"
SHORTENED = os.environ.get("VALETKEY_FAULT_TIMES") != "production"
STRETCH = 1 if SHORTENED else 12
READ = "orders-db:read{region=eu}"
WRITE = "orders-db:write{region=eu}"
GLANCE = "orders-db:glance{region=eu}"
PROBED = "probe: read{region=eu}\nscopes:\n"
HEARD = """
  glance:
    summary: As read, for whoever says at once that it came.
    mutates: false
    parameters:
      region: {enum: [eu, us]}
    max_ttl: 15m
    ack_within: 2s
    creation_statements:
      - >-
        CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'
        CONNECTION LIMIT 4 ROLE "valetkey_manager"
      - GRANT "orders_${region}_reader" TO "{{name}}" WITH INHERIT TRUE, SET FALSE
"""
NEEDED = ("orders-db:read", "orders-db:glance", "orders-db:write", "reports-api:export", "archive-api:fetch")
EVERYTHING_ALLOWED = """
@id("all")
permit (principal, action, resource);
"""


@dataclass(frozen=True)
class Ground:
    """One provisioned stack with one broker's files on it."""

    stack: Stack
    folder: Path
    installation: str

    @property
    def config(self) -> Path:
        """The broker's configuration file."""
        return self.folder / "valetkey.yaml"

    @contextmanager
    def house(
        self,
        *,
        bao: str | None = None,
        database_port: int | None = None,
        watch: Callable[[Minter], Minter] = lambda minter: minter,
        **times: float,
    ) -> Iterator[House]:
        """A broker in this process, perhaps with something of ours between it and a server."""
        settings = load_settings(self.config)
        if bao is not None and settings.openbao is not None:
            between = settings.openbao.model_copy(update={"address": bao})
            settings = settings.model_copy(update={"openbao": between})
        if database_port is not None:
            url = self.folder / f"through-{database_port}.url"
            direct = settings.database.url_file.read_text()
            write_private(url, direct.replace(f":{self.stack.postgres.port}/", f":{database_port}/"))
            through = settings.database.model_copy(update={"url_file": url})
            settings = settings.model_copy(update={"database": through})
        if times:
            changed = {name: timedelta(seconds=value) for name, value in times.items()}
            settings = settings.model_copy(
                update={"times": settings.times.model_copy(update=changed)}
            )
        house = build_house(settings, signer(settings.signing_key_file), watch)
        try:
            yield house
        finally:
            house.close()

    def bot(self, house: House) -> Caller:
        """An accepted agent of its own for each story, calling with its key."""
        agent = Agent(
            id=encode_id("agent", uuid6.uuid7().bytes),
            name=f"bot-{secrets.token_hex(4)}",
            owner="olivia@example.com",
            team="refunds",
            environment="production",
            labels={},
            boundary=tuple(Scope.parse(text) for text in NEEDED),
            state=AgentState.ACCEPTED,
            created_by="https://ci refunds",
            created_by_rule="refunds-ci",
            created_at=datetime.now(UTC),
        )
        with house.store.transaction() as tx:
            tx.add_agent(agent)
        return caller_of(agent)

    def look(self, query: str, *values: object, database: str = "orders") -> list[tuple[Any, ...]]:
        """What the superuser sees in a database."""
        with psycopg.connect(self.stack.superuser_dsn(database), autocommit=True) as connection:
            found = connection.execute(query, values or None)
            return found.fetchall() if found.description else []

    def roles(self) -> list[str]:
        """Marked roles of this installation that exist in the target."""
        pattern = f"vk-{self.installation}-%"
        query = "SELECT rolname FROM pg_roles WHERE rolname LIKE %s ORDER BY 1"
        return [row[0] for row in self.look(query, pattern)]

    def strays(self) -> int:
        """Open sessions in the target whose role has gone."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND usesysid NOT IN (SELECT oid FROM pg_roles)"
        )
        return int(self.look(query)[0][0])

    def bao_objects(self) -> list[str]:
        """Marked roles and leases that OpenBao itself still lists."""
        bao = self.stack.openbao.as_root()
        listed = bao.names("database-orders/roles")
        listed += bao.names("sys/leases/lookup/database-orders/creds")
        return [name for name in listed if name.startswith(f"vk-{self.installation}-")]

    def connect(self, secret: Mapping[str, object]) -> psycopg.Connection[Any]:
        """A session under a credential, straight to the target."""
        return psycopg.connect(
            host=str(secret["host"]),
            port=int(str(secret["port"])),
            dbname=str(secret["database"]),
            user=str(secret["username"]),
            password=str(secret["password"]),
            connect_timeout=5,
            autocommit=True,
        )

    def refuses(self, secret: Mapping[str, object]) -> bool:
        """True when the target lets nobody in under this credential."""
        try:
            self.connect(secret).close()
        except psycopg.OperationalError:
            return True
        return False

    def at_peace(self, house: House, *, within: float = 25.0) -> None:
        """Wait until no lease is unended, then demand that everybody agrees that all is gone.

        The sweep must be ticking somewhere. Looks with the doctor, as superuser in the target,
        and as root at OpenBao.
        """
        until_true(lambda: not unended(house), within, lambda: str(unended(house)))
        found = doctor(house.broker)
        assert found == [], str(found)
        assert self.roles() == []
        assert self.strays() == 0
        assert self.bao_objects() == []


def lay(stack: Stack, folder: Path) -> Ground:
    """Migrate, write a broker's files, and pin its catalogue at OpenBao as an administrator."""
    migrate(sqlalchemy_url(stack.owner_dsn()))
    store = open_store(sqlalchemy_url(stack.app_dsn()), pool=2)
    installation = store.installation()
    store.close()
    write_files(stack, folder)
    catalogue = load_catalogue(folder / "catalogue")
    policies = {
        name: openbao_policy(catalogue, (name,), installation)
        for name in pinned_targets(catalogue)
    }
    stack.options = replace(stack.options, writer_policies=policies)
    stack.provision()
    return Ground(stack, folder, installation)


def write_files(stack: Stack, folder: Path) -> None:
    """The sample catalogue for this stack's port, a policy that allows all, keys and settings."""
    sample = Path(valetkey.devstack.__file__).parent / "sample"
    without_aws = shutil.ignore_patterns("orders-exports.yaml")  # botocore takes half a second
    shutil.copytree(sample / "catalogue", folder / "catalogue", ignore=without_aws)
    orders = folder / "catalogue" / "orders-db.yaml"
    text = orders.read_text().replace("5432", str(stack.postgres.port))
    orders.write_text(text.replace("scopes:\n", PROBED, 1).rstrip() + HEARD)
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(EVERYTHING_ALLOWED)
    write_private(folder / "app.url", sqlalchemy_url(stack.app_dsn()))
    write_private(folder / "fingerprint.key", secrets.token_hex(32))
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    write_private(folder / "signing.pem", pem.decode())
    settings = {
        "external_url": "http://127.0.0.1:8210",
        "signing_key_file": "signing.pem",
        "fingerprint_key_file": "fingerprint.key",
        "database": {"url_file": "app.url", "pool": 12},
        "openbao": {
            "address": stack.openbao.address,
            "identity_token_file": str(stack.identity_token_file),
        },
        "times": dict(SCALE) if SHORTENED else {"probe_every": 0},
        "limits": {"leases_per_task": 1000, "leases_per_agent": 1000, "rate": 1000, "burst": 1000},
    }
    (folder / "valetkey.yaml").write_text(yaml.safe_dump(settings))


def signer(key_file: Path) -> Callable[[Mapping[str, object]], str]:
    """Signs claims as an at+jwt, as the server does."""
    keys = SigningKeys.load(key_file)
    return lambda claims: keys.sign("at+jwt", json.dumps(dict(claims)).encode())


def sqlalchemy_url(dsn: str) -> str:
    """The same URL with the driver named."""
    return dsn.replace("postgresql://", "postgresql+psycopg://")


def caller_of(agent: Agent) -> Caller:
    """The agent, calling."""
    return Caller(
        kind="agent",
        principal=Principal("https://cluster", agent.name),
        jkt=f"key of {agent.name}",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        token_id="t",
        agent_id=agent.id,
        agent=agent.name,
        binding_id="binding_1",
    )


def operator(name: str = "opal", fresh_for: str | None = None) -> Caller:
    """A person who may revoke and kill anything, with a login made for one object."""
    return Caller(
        kind="person",
        principal=Principal("https://people", name),
        jkt=f"key of {name}",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        token_id="t",
        email=f"{name}@example.com",
        roles=frozenset({"operator"}),
        auth_time=datetime.now(UTC),
        fresh_for=fresh_for,
    )


def start(house: House, bot: Caller, minutes: float = 20) -> Task:
    """A task of the bot that may need every scope."""
    scopes = tuple(Scope.parse(text) for text in NEEDED)
    return start_task(house.broker, bot, Plan("a refund", scopes, timedelta(minutes=minutes)))


def ask_for(
    task: Task,
    scope: str = READ,
    *,
    ttl: float = 300,
    key: str | None = None,
    renewable_for: timedelta | None = None,
) -> Ask:
    """An ask under a key of its own."""
    key = key or secrets.token_hex(8)
    wanted, asked = Scope.parse(scope), timedelta(seconds=ttl)
    return Ask(task.id, wanted, asked, "because", key, renewable_for)


def get(house: House, bot: Caller, ask: Ask) -> Issued:
    """Ask, and be given."""
    issued = request_credential(house.broker, bot, ask)
    assert isinstance(issued, Issued)
    return issued


def lease_of(house: House, lease_id: str) -> Lease:
    """The lease as it is now."""
    with house.store.transaction() as tx:
        lease = tx.lease(lease_id)
    assert lease is not None
    return lease


def leases_of(house: House, task: Task) -> Sequence[Lease]:
    """Every lease of a task."""
    with house.store.transaction() as tx:
        return tx.leases_of_task(task.id)


def unended(house: House) -> list[tuple[str, str, str | None]]:
    """What has no proof of its end yet: id, state and last error of each."""
    with house.store.transaction() as tx:
        return [(x.id, x.state.value, x.last_error) for x in tx.unended_leases()]


def until_true(
    condition: Callable[[], bool], within: float, told: Callable[[], str] = lambda: ""
) -> None:
    """Poll until it holds; fails with what `told` says when it does not in time (seconds)."""
    deadline = time.monotonic() + STRETCH * within
    while not condition():
        assert time.monotonic() < deadline, f"not within {STRETCH * within} s: {told()}"
        time.sleep(0.05)


def until_ended(house: House, lease_id: str, within: float = 20.0) -> Lease:
    """Wait for the proof of one lease's end."""

    def ended() -> bool:
        return lease_of(house, lease_id).state is LeaseState.ENDED

    until_true(ended, within, lambda: str(lease_of(house, lease_id)))
    return lease_of(house, lease_id)


def end_everything(house: House) -> None:
    """Every agent ends its tasks, and asks again when it is told to."""
    with house.store.transaction() as tx:
        tasks = [task for task in tx.tasks(None, None) if task.ended_at is None]
    for task in tasks:
        until_true(partial(_is_ended, house, task.id), within=20)


def _is_ended(house: House, task_id: str) -> bool:
    try:
        end_task(house.broker, operator(), task_id)
    except StoreUnavailable:
        return False
    return True


def leases_of_task(house: House, task_id: str) -> Sequence[Lease]:
    """Every lease of a task by its id."""
    with house.store.transaction() as tx:
        return tx.leases_of_task(task_id)
