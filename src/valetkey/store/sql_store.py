"""SqlStore: the Store port on Postgres, READ COMMITTED with row locks and compare-and-set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, delete, func, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from valetkey.core.admission import Rate, seconds_until_one
from valetkey.core.cut import Cut
from valetkey.core.errors import StoreUnavailable
from valetkey.ports import Duty
from valetkey.store.authority import Authority
from valetkey.store.checkup import Checkup
from valetkey.store.cuts import cut_at, cuts_to_look_at, next_cut
from valetkey.store.delegations import Delegated
from valetkey.store.due import DUE, duties_of
from valetkey.store.epochs import Epochs
from valetkey.store.lifecycle import Lifecycle
from valetkey.store.patience import ANSWER, be_patient, connecting
from valetkey.store.proposals import Proposed
from valetkey.store.readings import Readings
from valetkey.store.rules import KeptRules
from valetkey.store.sealed import FORGET, Kept
from valetkey.store.session import driver_of
from valetkey.store.tables import REVOKED, buckets, installation, uses

_COUNTS = """
SELECT count(*) FILTER (WHERE state IN ('minting', 'active')) AS live,
       count(*) FILTER (WHERE backend_expires_at < clock_timestamp()) AS overdue,
       count(*) FILTER (WHERE state = 'stuck') AS stuck,
       coalesce(extract(epoch FROM clock_timestamp() - min(ending_since)), 0)
           AS oldest_unended_seconds
FROM leases WHERE state <> 'ended'
"""
_DRIVER = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,  # we stood still, and were hung up on
)
_FILLED = """
least(%(burst)s::float8, buckets.tokens + %(per_second)s
    * greatest(0, extract(epoch FROM clock_timestamp() - buckets.at)::float8))
"""
_TAKE = f"""
INSERT INTO buckets (principal, tokens, at)
VALUES (%(principal)s, %(burst)s::float8 - 1, clock_timestamp())
ON CONFLICT (principal) DO UPDATE SET tokens = {_FILLED} - 1, at = clock_timestamp()
WHERE {_FILLED} >= 1 RETURNING tokens
"""  # noqa: S608 - a text of ours
_LEFT = f"SELECT {_FILLED} FROM buckets WHERE principal = %(principal)s"  # noqa: S608
_PIN = """
WITH new AS (
    INSERT INTO uses (slot, key, jkt, until)
    VALUES ('pin', %(key)s, %(jkt)s, %(until)s) ON CONFLICT DO NOTHING RETURNING jkt
)
SELECT jkt FROM new UNION ALL SELECT jkt FROM uses WHERE slot = 'pin' AND key = %(key)s
"""
_REVOKED = f"SELECT FROM uses WHERE slot = '{REVOKED}' AND key = %(key)s"
_USED = "SELECT key FROM uses WHERE slot = %(slot)s AND until > clock_timestamp()"
_URGENT: ContextVar[bool] = ContextVar("urgent", default=False)
_FIRST_USE = """
INSERT INTO uses (slot, key, jkt, until) SELECT %(slot)s::text, %(key)s::text, '', %(until)s
WHERE NOT EXISTS (SELECT FROM uses WHERE slot = 'revoked' AND key = %(unless)s)
ON CONFLICT DO NOTHING RETURNING key
"""


class SqlTransaction(
    Authority, Lifecycle, Checkup, Epochs, Proposed, Kept, Delegated, KeptRules
):
    """Every query, over one connection in one transaction."""


class SqlStore:
    """Our own database. Foreign exceptions end here, as StoreUnavailable."""

    def __init__(self, engine: Engine, kept: Engine | None = None) -> None:
        """`kept` has the connections of what is urgent; without it, all share one pool."""
        self._pools = engine, kept or engine
        self._readings = Readings()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """What this thread does in the block, and what it starts, uses the connections kept."""
        before = _URGENT.set(True)
        try:
            yield
        finally:
            _URGENT.reset(before)

    @property
    def _engine(self) -> Engine:
        """Its connections commit each statement, unless they are told to begin."""
        return self._pools[_URGENT.get()]

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """Begin; commit when the block is left, roll back when it raises.

        PostgreSQL hears of it with the first statement that locks or writes: what is only read is
        read at READ COMMITTED, where each statement sees its own moment anyway.
        """
        with _mapped(), self._engine.connect() as connection, connection.begin():
            tx = SqlTransaction(connection, self._readings)
            yield tx
            tx.finish()

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """The same for statements that are SQLAlchemy's."""
        engine = self._engine.execution_options(isolation_level="READ COMMITTED")
        with _mapped(), engine.begin() as connection:
            yield connection

    def _alone(
        self, statement: str, values: Mapping[str, object] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """The rows of one statement that is a commit of its own, straight from psycopg."""
        with _mapped(), self._engine.connect() as connection, connection.begin():
            return driver_of(connection).execute(statement.encode(), values).fetchall()

    def due(self) -> frozenset[Duty]:
        """The duties that have something to do now: one statement, outside any transaction."""
        with _mapped(), self._engine.connect() as connection:
            return duties_of(connection.exec_driver_sql(DUE).one())

    def first_use(self, slot: str, key: str, until: datetime, unless: str = "") -> bool:
        """True the first time, across replicas; kept until `until`."""
        return bool(
            self._alone(_FIRST_USE, {"slot": slot, "key": key, "until": until, "unless": unless})
        )

    def used(self, slot: str) -> frozenset[str]:
        """The keys of a slot that are remembered and not past their time."""
        return frozenset(key for (key,) in self._alone(_USED, {"slot": slot}))

    def is_revoked(self, token_id: str) -> bool:
        """Whether a token of ours was revoked."""
        return bool(self._alone(_REVOKED, {"key": token_id}))

    def pin(self, key: str, jkt: str, until: datetime) -> str:
        """The key thumbprint first pinned to this."""
        pinned: Sequence[tuple[str]] = ()
        while not pinned:  # another one pinned it while we tried, and we do not see it yet
            pinned = self._alone(_PIN, {"key": key, "jkt": jkt, "until": until})
        return pinned[0][0]

    def admit(self, principal: str, rate: Rate) -> float | None:
        """None when there was one. The bucket is named by a hash, for its name may be long."""
        name = hashlib.sha256(principal.encode()).hexdigest()
        values = {"principal": name, "per_second": rate.per_second, "burst": rate.burst}
        if self._alone(_TAKE, values):
            return None
        left = self._alone(_LEFT, values)
        return seconds_until_one(left[0][0] if left else 0.0, rate)

    def forget_uses(self) -> int:
        """Drop what may be used again because it can no longer be valid; how many.

        Buckets that nobody took from for a day go too.
        """
        old = delete(uses).where(uses.c.until < func.clock_timestamp())
        idle = buckets.c.at < func.clock_timestamp() - timedelta(days=1)
        with self._begun() as connection:
            connection.execute(delete(buckets).where(idle))
            return connection.execute(old).rowcount

    def forget_sealed(self) -> int:
        """Drop sealed answers whose time is over or whose lease is not active; how many."""
        with _mapped(), self._engine.connect() as connection:
            return connection.exec_driver_sql(FORGET).rowcount

    def cut(self, place: str) -> Cut:
        """What is refused at a place."""
        with _mapped(), self._engine.connect() as connection:
            return cut_at(connection, place)

    def next_cut(self, place: str, slots: int) -> Cut:
        """The next generation there, in a commit of its own."""
        with self._begun() as connection:
            return next_cut(connection, place, slots)

    def cuts_to_look_at(self, minter: str, every: timedelta) -> Sequence[Cut]:
        """Where a minter refuses something and nobody looked for so long."""
        with self._begun() as connection:
            return cuts_to_look_at(connection, minter, every)

    def now(self) -> datetime:
        """The database's time; raises StoreUnavailable once it was away for a second."""
        read = self._readings.recent()
        if read is None:
            ((at,),) = self._alone("SELECT clock_timestamp()")
            read = self._readings.note(at)
        return read.now()

    def counts(self) -> dict[str, float]:
        """live, overdue, stuck and oldest_unended_seconds, in one query."""
        with self._begun() as connection:
            row = connection.execute(text(_COUNTS)).mappings().one()
            return {name: float(value) for name, value in row.items()}

    def schema(self) -> str | None:
        """The revision of the schema that we are connected to; None when there is none."""
        try:
            with self._begun() as connection:
                found = connection.execute(text("SELECT version_num FROM alembic_version"))
                revision: str | None = found.scalar_one_or_none()
                return revision
        except ProgrammingError:
            return None

    def installation(self) -> str:
        """The mark's first part: id and epoch of this database."""
        with self._begun() as connection:
            row = connection.execute(select(installation.c.id, installation.c.epoch)).one()
            return f"{row.id}e{row.epoch}"

    def owns_its_tables(self) -> bool:
        """True when we are connected as the owner of the facts, which `serve` refuses."""
        owner = "SELECT pg_catalog.pg_has_role(tableowner, 'MEMBER') FROM pg_tables"
        with self._begun() as connection:
            found = connection.execute(text(owner + " WHERE tablename = 'facts'"))
            return bool(found.scalar())

    def close(self) -> None:
        """Give back every connection."""
        for engine in self._pools:
            engine.dispose()


def open_store(url: str, *, pool: int = 20, kept: int = 0, answer: timedelta = ANSWER) -> SqlStore:
    """A store over a pool of connections; `url` is `postgresql+psycopg://...`.

    `kept` further ones are for what is urgent alone. `answer` is how long the server may take for
    one statement; then it is StoreUnavailable.
    """
    return SqlStore(_engine(url, pool, answer), _engine(url, kept, answer) if kept else None)


def _engine(url: str, pool: int, answer: timedelta) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool,
        max_overflow=4,
        pool_timeout=5,
        pool_pre_ping=False,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args=connecting(answer),
    )
    be_patient(engine, answer)
    return engine


@contextmanager
def _mapped() -> Iterator[None]:
    """Foreign exceptions of an unreachable database to ours; anything else is a defect."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, *_DRIVER) as lost:
        raise StoreUnavailable(retry_after=2) from lost
    except DBAPIError as lost:
        if not lost.connection_invalidated:
            raise
        raise StoreUnavailable(retry_after=2) from lost
