"""Many live leases: minted for real on both sides, or written straight into a database."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import hvac
import psycopg
import uuid6
import yaml

from bench.direct import DirectDatabase
from bench.ground import DIRECT_MOUNT, FOUR, SCOPES, Ground
from bench.served import provide_agent
from valetkey.bootstrap import House, load_settings, open_house
from valetkey.core.agent import Agent
from valetkey.core.ask import Ask
from valetkey.core.ids import encode_id
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.flows.verdicts import Issued

THREADS = 16
TTL = timedelta(minutes=14)


@contextmanager
def house(ground: Ground, catalogue: str = "four") -> Iterator[House]:
    """A broker in this process that does not tick; what is asked of it is asked without HTTP."""
    provide_agent(ground)
    opened = open_house(load_settings(ground.config(catalogue)))
    try:
        yield opened
    finally:
        opened.close()


def variant(ground: Ground, name: str, **changes: object) -> str:
    """The settings of `four` with some changed, under another name; nested names by `__`."""
    settings = yaml.safe_load(ground.config("four").read_text())
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = settings
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    ground.config(name).write_text(yaml.safe_dump(settings))
    return name


def mint(opened: House, count: int, target: str = FOUR) -> list[str]:
    """Live database leases of the bench's agent, minted by many threads; their ids, in order."""
    bot, _ = caller(opened)
    needed = (Scope.parse(SCOPES[target].partition("{")[0]),)
    plan = Plan("to be ended", needed, timedelta(hours=1))
    tasks = itertools.cycle([start_task(opened.broker, bot, plan) for _ in range(4)])
    asks = [
        Ask(next(tasks).id, Scope.parse(SCOPES[target]), TTL, "because", uuid6.uuid7().hex)
        for _ in range(count)
    ]

    def one(ask: Ask) -> str:
        issued = request_credential(opened.broker, bot, ask)
        assert isinstance(issued, Issued)
        return issued.lease.id

    with ThreadPoolExecutor(THREADS) as threads:
        return sorted(threads.map(one, asks))


def mint_directly(ground: Ground, count: int, mount: str = DIRECT_MOUNT) -> None:
    """Live leases of the direct side's four ready-made roles, on four configurations."""
    side = DirectDatabase(ground.direct(), 4, mount, patience=300)
    clients = [side.client() for _ in range(8)]

    def share(number: int) -> None:
        for _ in range(number, count, 8):
            clients[number].mint()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(share, range(8)))


def caller(opened: House) -> tuple[Caller, Agent]:
    """The bench's agent, calling with a key."""
    with opened.store.transaction() as tx:
        agent = tx.agent_named("bench-bot")
    assert agent is not None
    bot = Caller(
        kind="agent",
        principal=Principal("https://cluster", agent.name),
        jkt="key of the bench",
        expires_at=datetime.now(UTC) + timedelta(hours=2),
        token_id=encode_id("token", uuid6.uuid7().bytes),
        agent_id=agent.id,
        agent=agent.name,
        binding_id="bench",
    )
    return bot, agent


@dataclass(frozen=True)
class Eyes:
    """A superuser's look at the databases of a ground."""

    ground: Ground

    def value(self, query: str, *values: object, database: str = "valetkey") -> float:
        """The one number that a query gives."""
        dsn = self.ground.stack.superuser_dsn(database)
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(query, values or None).fetchone()
        return float(row[0]) if row else 0.0

    def rows(self, query: str, database: str = "valetkey") -> list[tuple[Any, ...]]:
        """All rows that a query gives."""
        dsn = self.ground.stack.superuser_dsn(database)
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def do(self, *statements: str, database: str = "valetkey") -> None:
        """Run statements one after the other."""
        dsn = self.ground.stack.superuser_dsn(database)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def roles(self, like: str) -> int:
        """How many roles of the target look like this."""
        return int(self.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE %s", like))



def end_lazily(ground: Ground, mount: str = DIRECT_MOUNT) -> None:
    """202 for each role's prefix; OpenBao's expiration workers do the rest, from the first on."""
    given = ground.direct()
    client = hvac.Client(url=given["address"], token=given["token"], timeout=600)
    for lane in range(4):
        path = f"/v1/sys/leases/revoke-prefix/{mount}/creds/ready-{lane}"
        client.adapter.put(path, json={"sync": False})
