"""What the tests do at the real OpenBao and PostgreSQL, as root and as a narrow writer."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from valetkey.core.ids import LeaseId, Mark, base32
from valetkey.core.statements import DatabaseRole
from valetkey.devstack.bao_api import Bao
from valetkey.devstack.stack import Stack
from valetkey.minters.pins import role_body

MOUNT = "database-orders"
INSTALLATION = "abcdefe1"
_numbers = itertools.count(int(time.time() * 1000))


def mark(digest: str, installation: str = INSTALLATION) -> str:
    """A fresh role name for one scope digest."""
    lease = base32(next(_numbers).to_bytes(16, "big"))
    return str(Mark.of(installation, digest, LeaseId(f"lease_{lease}")))


@dataclass(frozen=True)
class Credential:
    """A minted database login."""

    name: str
    password: str
    lease_id: str
    seconds: int


class Outside:
    """The real servers of the stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.root: Bao = stack.openbao.as_root()

    def writer(self, policy: str) -> Bao:
        """A batch token that holds only this policy."""
        self.root.write("sys/policies/acl/writer-test", policy=policy)
        made = self.root.write(
            "auth/token/create",
            policies=["writer-test"],
            no_default_policy=True,
            type="batch",
            ttl="60s",
        )
        return Bao(self.root.address, made["auth"]["client_token"])

    def mint(self, role: DatabaseRole, ttl: timedelta = timedelta(minutes=5)) -> Credential:
        """Write the role and read its credential."""
        name = mark(role.digest)
        self.root.write(f"{MOUNT}/roles/{name}", **role_body(role, ttl))
        return self.read(name)

    def read(self, name: str) -> Credential:
        """Read a credential of a role that is there."""
        answer = self.root.read(f"{MOUNT}/creds/{name}")
        inside: dict[str, Any] = answer["data"]
        return Credential(
            inside["username"], inside["password"], answer["lease_id"], answer["lease_duration"]
        )

    def revoke(self, credential: Credential) -> None:
        """End it at OpenBao, waiting for the end."""
        self.root.write("sys/leases/revoke", lease_id=credential.lease_id, sync=True)

    def login(self, credential: Credential) -> psycopg.Connection:
        """Connect to the target with a credential."""
        return psycopg.connect(
            self.stack.superuser_dsn("orders"),
            user=credential.name,
            password=credential.password,
            autocommit=True,
        )

    def superuser(self) -> psycopg.Connection:
        """Connect to the target as its superuser."""
        return psycopg.connect(self.stack.superuser_dsn("orders"), autocommit=True)

    def role_exists(self, name: str) -> bool:
        """Whether the target has a role of that name."""
        with self.superuser() as connection:
            found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name])
            return found.fetchone() is not None


class Reconnecting:
    """A client that connects again and again, and counts what it could do after a moment."""

    def __init__(self, outside: Outside, credential: Credential) -> None:
        self._outside, self._credential = outside, credential
        self._done = threading.Event()
        self.worked: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                with self._outside.login(self._credential) as connection:
                    while not self._done.is_set():
                        connection.execute("SELECT 1")
                        self.worked.append(time.monotonic())
            except psycopg.Error:
                continue

    def wait_until_in(self) -> None:
        """Wait until it has worked once."""
        until = time.monotonic() + 10
        while not self.worked and time.monotonic() < until:
            self._done.wait(0.01)
        assert self.worked

    def worked_after(self, moment: float, during: float) -> int:
        """How often it worked between `moment` and `during` seconds from now; then it stops."""
        self._done.wait(during)
        self._done.set()
        self._thread.join(10)
        return sum(1 for at in self.worked if at > moment)
