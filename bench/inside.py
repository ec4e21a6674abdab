"""The broker's side without HTTP: the flows called in one process, clients as its threads.

Flattering, because no proof is checked and nothing is sent; used only where no `serve` exists.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uuid6

from bench.ground import SCOPES, TTL
from bench.load import Client
from valetkey.bootstrap import House, build_house, load_settings
from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.ask import Ask
from valetkey.core.ids import encode_id
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.start_task import Plan, start_task
from valetkey.flows.verdicts import Issued
from valetkey.identity.keys import SigningKeys
from valetkey.ports import Store

SUBJECT = "system:serviceaccount:refunds:refund-bot"


def new_id(kind: str) -> str:
    """An id as the broker makes them."""
    return encode_id(kind, uuid6.uuid7().bytes)


def provide_agent(store: Store, issuer: str) -> Agent:
    """The bench's agent, accepted and bound to the sample workload; made once."""
    with store.transaction() as tx:
        found = tx.agent_named("bench-bot")
        if found is not None:
            return found
        now = tx.now()
        scopes = tuple(Scope.parse(text.partition("{")[0]) for text in SCOPES.values())
        agent = Agent(
            id=new_id("agent"),
            name="bench-bot",
            owner="olivia@example.com",
            team="refunds",
            environment="production",
            labels={},
            boundary=scopes,
            state=AgentState.ACCEPTED,
            created_by="bench",
            created_by_rule=None,
            created_at=now,
            accepted_at=now,
        )
        tx.add_agent(agent)
        claims = (("sub", SUBJECT),)
        tx.add_binding(Binding(new_id("binding"), agent.id, issuer, claims, "bench", now))
        return agent


class Inside:
    """One house; `target` is what is asked for."""

    def __init__(self, where: Mapping[str, str], target: str) -> None:
        settings = load_settings(Path(where["config"]))
        signing = SigningKeys.load(settings.signing_key_file)
        self.house: House = build_house(settings, lambda claims: _sign(signing, claims))
        self.house.clockwork.start()
        self._scope = Scope.parse(SCOPES[target])
        agent = provide_agent(self.house.store, where["issuer"])
        self._caller = Caller(
            kind="agent",
            principal=Principal(where["issuer"], SUBJECT),
            jkt="bench-key",
            expires_at=datetime.now(UTC) + timedelta(days=1),
            token_id="bench",
            agent_id=agent.id,
            agent=agent.name,
        )

    def client(self) -> Client:
        """A client with a task of its own."""
        bare = Scope(self._scope.target, self._scope.name)
        plan = Plan("to be timed", (bare,), timedelta(hours=1))
        return _Flows(self, start_task(self.house.broker, self._caller, plan))

    def ask(self, task: Task) -> str:
        """Mint one; its lease."""
        ask = Ask(task.id, self._scope, TTL, "bench", new_id("key"))
        issued = request_credential(self.house.broker, self._caller, ask)
        assert isinstance(issued, Issued)
        return issued.lease.id

    def revoke(self, lease_id: str) -> None:
        """Mark one as ending, as the API does; the clockwork ends it."""
        revoke_lease(self.house.broker, self._caller, lease_id)

    def settle(self) -> int:
        """Wait for the clockwork; how many are left after a minute."""
        return wait_until_ended(self.house.store)

    def close(self) -> None:
        """Close everything."""
        self.house.close()


class _Flows:
    def __init__(self, inside: Inside, task: Task) -> None:
        self._inside, self._task = inside, task

    def mint(self) -> str:
        return self._inside.ask(self._task)

    def end(self, name: str) -> None:
        self._inside.revoke(name)


def wait_until_ended(store: Store, within: float = 60.0) -> int:
    """Poll our database until no lease is unended; how many are left."""
    until = time.monotonic() + within
    while True:
        with store.transaction() as tx:
            left = len(tx.unended_leases())
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.02)


def _sign(keys: SigningKeys, claims: Mapping[str, object]) -> str:
    import json

    return keys.sign("at+jwt", json.dumps(claims).encode())
