"""The inspector: a login to a PostgreSQL target that can only look, so that proofs are ours."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from valetkey.core.errors import MinterUnavailable

_PRESENT = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %(name)s)
    OR EXISTS (SELECT FROM pg_catalog.pg_stat_activity
               WHERE usename = %(name)s OR usesysid = %(oid)s
                  OR (%(oid)s::oid IS NULL AND backend_type = 'client backend'
                      AND usesysid NOT IN (SELECT oid FROM pg_catalog.pg_roles)))
"""
_OID = "SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s"
_MARKED = """
SELECT rolname, CASE WHEN isfinite(rolvaliduntil) THEN rolvaliduntil END
FROM pg_catalog.pg_roles WHERE rolname LIKE 'vk-%'
"""
_FOR_EVER = datetime.max.replace(tzinfo=UTC)
_WRITES = """
SELECT EXISTS (
  SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND (has_table_privilege(%(role)s, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
         OR has_schema_privilege(%(role)s, n.oid, 'CREATE')))
    OR has_database_privilege(%(role)s, current_database(), 'CREATE')
    OR has_function_privilege(%(role)s, 'pg_catalog.lo_creat(integer)', 'EXECUTE')
    OR has_function_privilege(%(role)s, 'pg_catalog.lo_create(oid)', 'EXECUTE')
    OR has_function_privilege(%(role)s, 'pg_catalog.lo_from_bytea(oid, bytea)', 'EXECUTE')
"""

Answer = TypeVar("Answer")
Credentials = Callable[[], tuple[str, str]]
LOOK_LIMIT = 5.0
MOST_NUMBERS = 10_000


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when one answer takes longer than LOOK_LIMIT.

    A server that is frozen still acknowledges packets, so that neither its own statement timeout
    nor TCP's ends a query; and whoever looks holds a lane, or the readiness of all targets.
    """

    def wait(
        self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None
    ) -> Answer:
        """What the server answers; raises OperationalError when it does not, and is closed then."""
        try:
            return super().wait(gen, interval, LOOK_LIMIT if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


class Inspector:
    """A small pool of looking logins to one database; its password comes from a static role."""

    def __init__(self, where: dict[str, str], credentials: Credentials) -> None:
        self._where = where
        self._credentials = credentials
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Any] | None = None
        self._oids: OrderedDict[str, int] = OrderedDict()

    def remember(self, name: str) -> None:
        """Note a role's number before it is dropped, to find its sessions by it afterwards."""
        with self._looking() as connection:
            row = connection.execute(_OID, [name]).fetchone()
        if row is not None:
            self._oids[name] = row[0]
            self._oids.move_to_end(name)
            while len(self._oids) > MOST_NUMBERS:  # of a forgotten one, any nameless session counts
                self._oids.popitem(last=False)

    def sees(self, name: str) -> bool:
        """True when the role exists or a session of it is open.

        A session whose role is gone shows only its number; when we do not know that number, any
        such session counts.
        """
        with self._looking() as connection:
            about = {"name": name, "oid": self._oids.get(name)}
            row = connection.execute(_PRESENT, about).fetchone()
        seen = bool(row and row[0])
        if not seen:
            self._oids.pop(name, None)
        return seen

    def marked(self) -> dict[str, datetime]:
        """Every role of the cluster whose name begins as our marks do, and its VALID UNTIL."""
        with self._looking() as connection:
            return {name: until or _FOR_EVER for name, until in connection.execute(_MARKED)}

    def clock(self) -> datetime:
        """What time it is there."""
        with self._looking() as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        told: datetime = row[0]
        return told

    def can_write(self, group: str) -> bool:
        """True when a group role may change anything: a read scope must not be made of it."""
        with self._looking() as connection:
            row = connection.execute(_WRITES, {"role": group}).fetchone()
        return bool(row and row[0])

    def close(self) -> None:
        """Give back every connection."""
        pool = self._pool
        if pool is not None:
            self._give_up(pool)

    def _give_up(self, pool: ConnectionPool[Any]) -> None:
        """Close a pool, unless another took its place; waits for nobody."""
        with self._lock:
            if self._pool is pool:
                self._pool = None
        pool.close(timeout=0)

    @contextmanager
    def _looking(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection to look through; raises MinterUnavailable when there is none."""
        pool = self._open()
        try:
            with pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, PoolTimeout) as away:
            self._give_up(pool)  # the password may have been rotated: fetch it anew next time
            raise MinterUnavailable("the target cannot be looked at", retry_after=5) from away
        except psycopg.Error as no:  # not allowed, or something it names is not there
            raise MinterUnavailable("the target does not let us look", retry_after=60) from no

    def _open(self) -> ConnectionPool[Any]:
        with self._lock:
            if self._pool is None:
                username, password = self._credentials()
                self._pool = ConnectionPool(
                    connection_class=ImpatientConnection,
                    kwargs={
                        "host": self._where["host"],
                        "port": self._where["port"],
                        "dbname": self._where["database"],
                        "sslmode": self._where.get("sslmode", "prefer"),
                        "user": username,
                        "password": password,
                        "autocommit": True,
                        "connect_timeout": 5,
                        "keepalives_idle": 10,
                        "keepalives_interval": 5,
                        "keepalives_count": 3,
                        "tcp_user_timeout": 20_000,
                        "application_name": "valetkey-inspector",
                        "options": "-c statement_timeout=4s",
                    },
                    min_size=0,
                    max_size=8,
                    timeout=LOOK_LIMIT,
                    open=True,
                )
            return self._pool
