"""Whoever holds a minted database login tries to keep it, widen it, or lend it to others."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import psycopg.conninfo
import pytest

from tests.faults.ground import (
    WRITE,
    Ground,
    ask_for,
    get,
    lease_of,
    operator,
    start,
    until_ended,
)
from valetkey.bootstrap import House
from valetkey.core.lease import Lease, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.verdicts import Issued
from valetkey.minters.inspector import Inspector

TO_KEEP_OR_WIDEN = (
    "ALTER ROLE {me} VALID UNTIL 'infinity'",
    "ALTER ROLE {me} CONNECTION LIMIT -1",
    "ALTER ROLE {me} CREATEROLE",
    "ALTER ROLE {me} BYPASSRLS",
    "ALTER ROLE {me} RENAME TO mine",
    "CREATE ROLE accomplice LOGIN PASSWORD 'x'",
    "GRANT {me} TO orders_inspector",
    "GRANT orders_us_writer TO {me}",
    "GRANT orders_eu_writer TO orders_inspector",
    "SET ROLE orders_eu_writer",
    "SET ROLE valetkey_manager",
    "SET SESSION AUTHORIZATION orders_eu_writer",
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION dblink",
    "CREATE SUBSCRIPTION mine CONNECTION 'dbname=orders' PUBLICATION none",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
    "CREATE TRIGGER mine BEFORE INSERT ON refunds EXECUTE FUNCTION lo_manage()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'valetkey_manager'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/hostname')",
)
HELD = """INSERT INTO refunds (order_id, amount_cents, reason, region)
VALUES (4011, 1, 'held', 'eu')"""


@pytest.fixture
def out(house: House, ground: Ground) -> Issued:
    """A credential that may write, in the attacker's hands."""
    bot = ground.bot(house)
    return get(house, bot, ask_for(start(house, bot), WRITE))


def ended(house: House, ground: Ground, lease: Lease) -> Lease:
    """The lease after its task was ended by its owner's operator."""
    end_task(house.broker, operator(), str(lease.task_id))
    return until_ended(house, lease.id)


def refused(session: psycopg.Connection[object], statement: str) -> bool:
    """Whether the server refuses a statement."""
    try:
        session.execute(statement.encode())
    except psycopg.Error:
        return True
    return False


def login(secret: Mapping[str, object], **changes: object) -> psycopg.Connection[object]:
    """A login with the credential, perhaps elsewhere or with another password."""
    use = {**secret, **changes}
    return psycopg.connect(
        host=str(use["host"]),
        port=int(str(use["port"])),
        dbname=str(use["database"]),
        user=str(use["username"]),
        password=str(use["password"]),
        autocommit=True,
        connect_timeout=5,
    )


def test_a_minted_login_cannot_widen_or_keep_itself(ground: Ground, out: Issued) -> None:
    """No statement gives it more rights, more time, an accomplice, or code of its own."""
    secret = out.secret.reveal()
    with ground.connect(secret) as session:
        name = f'"{secret["username"]}"'
        let_through = [x for x in TO_KEEP_OR_WIDEN if not refused(session, x.format(me=name))]
    assert let_through == []


def test_a_minted_login_opens_no_other_database(out: Issued) -> None:
    """Not ours, and none that everybody could use."""
    for database in ("valetkey", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError):
            login(out.secret.reveal(), database=database)


def test_everything_a_login_may_leave_behind_goes_with_it(
    house: House, ground: Ground, out: Issued
) -> None:
    """A password and settings of its own, rights it gave away, locks it holds: all end, verified."""
    secret = out.secret.reveal()
    me = str(secret["username"])
    with ground.connect(secret) as session:
        for statement in (
            f"ALTER ROLE \"{me}\" PASSWORD 'mine'",
            f'ALTER ROLE "{me}" SET statement_timeout = 0',
            f'ALTER ROLE "{me}" IN DATABASE orders SET search_path = pg_temp',
            f'ALTER DEFAULT PRIVILEGES FOR ROLE "{me}" GRANT ALL ON TABLES TO PUBLIC',
            "LISTEN news",
            "SELECT pg_advisory_lock(g) FROM generate_series(1, 500) g",
            "BEGIN",
            HELD,
        ):
            session.execute(statement.encode())
        lease = ended(house, ground, out.lease)
        with pytest.raises(psycopg.OperationalError):
            session.execute("COMMIT")
    assert lease.proof is Proof.VERIFIED
    for password in (secret["password"], "mine"):
        with pytest.raises(psycopg.OperationalError):
            login(secret, password=password)
    assert ground.look("SELECT count(*) FROM refunds WHERE reason = 'held'") == [(0,)]
    assert lease_of(house, out.lease.id).proof is Proof.VERIFIED


def test_many_objects_do_not_keep_a_role_from_being_dropped(
    house: House, ground: Ground, out: Issued
) -> None:
    """Large objects need no right to be made: more of them than the server has locks for."""
    with ground.connect(out.secret.reveal()) as session:
        session.execute("SET lock_timeout = 0")
        made = not refused(session, "SELECT lo_create(0)")
        for _ in range(10 if made else 0):
            session.execute("SELECT count(lo_create(0)) FROM generate_series(1, 3000)")
    lease = ended(house, ground, out.lease)
    assert lease.proof is Proof.VERIFIED
    assert ground.look("SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


def test_a_group_that_may_make_large_objects_is_no_reader(ground: Ground) -> None:
    """On a server where nobody has forbidden it, a scope that only reads is not made of it."""
    where = psycopg.conninfo.conninfo_to_dict(ground.stack.superuser_dsn("orders"))
    place = {"host": str(where["host"]), "port": str(where["port"]), "database": "orders"}
    admin = Inspector(place, lambda: (str(where["user"]), str(where["password"])))
    maker = "EXECUTE ON FUNCTION pg_catalog.lo_create(oid)"
    try:
        assert not admin.can_write("orders_eu_reader")
        ground.look(f"GRANT {maker} TO orders_eu_reader")
        assert admin.can_write("orders_eu_reader")
    finally:
        ground.look(f"REVOKE {maker} FROM orders_eu_reader")
        admin.close()
