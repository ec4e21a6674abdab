"""What the Valetkey server's four OpenBao logins can do, and what they cannot."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from valetkey.devstack.bao_api import Bao, BaoRefused
from valetkey.devstack.stack import Stack

CREATE_ROLE = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' "
    'CONNECTION LIMIT 4 ROLE "valetkey_manager"'
)
CREATE = [CREATE_ROLE, 'GRANT "orders_eu_{kind}" TO "{{name}}" WITH INHERIT TRUE, SET FALSE']
END = [
    'ALTER ROLE "{{name}}" NOLOGIN',
    "COMMIT",
    "BEGIN",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
    'DROP OWNED BY "{{name}}"',
    'DROP ROLE IF EXISTS "{{name}}"',
]


def login(stack: Stack, role: str) -> Bao:
    """Log in by JWT with the server's own identity token, as production does."""
    jwt = stack.identity_token_file.read_text(encoding="utf-8")
    return Bao(stack.openbao.address).login(f"valetkey-{role}", jwt)


def write_role(stack: Stack, name: str, kind: str = "reader", lane: str = "orders-0") -> None:
    """Write a per-lease role as the writer."""
    login(stack, "writer").write(
        f"database-orders/roles/{name}",
        db_name=lane,
        creation_statements=[text.replace("{kind}", kind) for text in CREATE],
        revocation_statements=END,
        default_ttl="300s",
        max_ttl="300s",
    )


def mint(stack: Stack, name: str, kind: str = "reader", lane: str = "orders-0") -> dict[str, Any]:
    """Write a role and read a credential of it: username and password."""
    write_role(stack, name, kind, lane)
    answer = login(stack, "reader").read(f"database-orders/creds/{name}")
    return dict(answer["data"])


def end(stack: Stack, name: str) -> None:
    """End it the way the ender does: role deleted, prefix revoked."""
    ender = login(stack, "ender")
    ender.delete(f"database-orders/roles/{name}")
    ender.write(f"sys/leases/revoke-prefix/database-orders/creds/{name}", sync=True)


def connect(stack: Stack, credential: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect to the sample target with a credential."""
    return psycopg.connect(
        host="127.0.0.1",
        port=stack.postgres.port,
        dbname="orders",
        user=credential["username"],
        password=credential["password"],
        autocommit=True,
    )


def refused(call: Callable[[], object]) -> int:
    """The status OpenBao refuses `call` with."""
    with pytest.raises(BaoRefused) as caught:
        call()
    return caught.value.status


def test_a_credential_sees_its_own_region_only_and_dies_with_its_sessions(
    stack: Stack,
) -> None:
    """Row-level security hides the other region; ending drops the open session and the role."""
    credential = mint(stack, "vk-t-read-1")
    assert credential["username"] == "vk-t-read-1"
    with connect(stack, credential) as session:
        found = session.execute("SELECT region, count(*) FROM orders GROUP BY 1").fetchall()
        assert found == [("eu", 18)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("UPDATE orders SET status = 'x'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SET ROLE orders_eu_reader")
        end(stack, "vk-t-read-1")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connect(stack, credential)


@pytest.mark.parametrize("lane", ["orders-0", "orders-1", "orders-2", "orders-3"])
def test_a_writer_credential_refunds_in_its_region_only(stack: Stack, lane: str) -> None:
    """INSERT into refunds and UPDATE of orders work for eu and are refused for us, on each lane."""
    name = f"vk-t-write-{lane}"
    credential = mint(stack, name, "writer", lane)
    refund = (
        "INSERT INTO refunds (order_id, amount_cents, reason, region) VALUES (%s, 1, 'test', %s)"
    )
    with connect(stack, credential) as session:
        assert session.execute(refund, [4012, "eu"]).rowcount == 1
        update = "UPDATE orders SET status = 'refunded' WHERE id = %s"
        assert session.execute(update, [4012]).rowcount == 1
        assert session.execute(update, [4042]).rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(refund, [4042, "us"])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM refunds")
    end(stack, name)


def test_the_writer_cannot_delete_read_credentials_or_touch_anything_else(
    stack: Stack,
) -> None:
    """Only creating and updating `vk-` roles is the writer's."""
    write_role(stack, "vk-t-writer")
    writer = login(stack, "writer")
    assert refused(lambda: writer.delete("database-orders/roles/vk-t-writer")) == 403
    assert refused(lambda: writer.read("database-orders/roles/vk-t-writer")) == 403
    assert refused(lambda: writer.read("database-orders/creds/vk-t-writer")) == 403
    assert refused(lambda: writer.write("database-orders/roles/other", db_name="orders-0")) == 403
    assert refused(lambda: writer.read("database-orders/config/orders-0")) == 403
    end(stack, "vk-t-writer")


def test_the_writer_has_a_batch_token_of_at_most_a_minute(stack: Stack) -> None:
    """A frozen writer that wakes later holds nothing."""
    writer = login(stack, "writer")
    assert writer.token.startswith(("b.", "hvb."))
    found = stack.openbao.as_root().write("auth/token/lookup", token=writer.token)["data"]
    assert found["type"] == "batch"
    assert found["ttl"] <= 60
    assert found["policies"] == ["valetkey-writer-orders-db"]


def test_the_reader_reads_credentials_under_a_periodic_orphan_and_writes_nothing(
    stack: Stack,
) -> None:
    """Leases die with the token that read them, so it is renewable for ever and has no parent."""
    reader = login(stack, "reader")
    found = reader.read("auth/token/lookup-self")["data"]
    assert (found["orphan"], found["period"], found["type"]) == (True, 86400, "service")
    body = {"db_name": "orders-0"}
    assert refused(lambda: reader.write("database-orders/roles/vk-x", **body)) == 403
    assert refused(lambda: reader.delete("database-orders/roles/vk-x")) == 403
    assert refused(lambda: reader.read("database-orders/static-creds/orders-inspector")) == 403


def test_the_ender_ends_and_claims_but_makes_nothing(stack: Stack) -> None:
    """It lists, deletes, revokes; a claim once written cannot be overwritten by it."""
    mint(stack, "vk-t-end")
    ender = login(stack, "ender")
    assert "vk-t-end" in ender.names("database-orders/roles")
    assert len(ender.names("sys/leases/lookup/database-orders/creds/vk-t-end")) == 1
    assert refused(lambda: ender.write("database-orders/roles/vk-x", db_name="orders-0")) == 403
    assert refused(lambda: ender.read("database-orders/creds/vk-t-end")) == 403
    claim = f"valetkey/data/claims/test-{time.time_ns()}"
    ender.write(claim, data={"installation": "first"})
    assert refused(lambda: ender.write(claim, data={"installation": "second"})) == 403
    assert ender.read(claim)["data"]["data"] == {"installation": "first"}
    other = "sys/leases/revoke-prefix/database-orders/creds/other"
    assert refused(lambda: ender.write(other, sync=True)) == 403
    end(stack, "vk-t-end")


def test_the_inspector_sees_roles_and_sessions_and_no_rows(stack: Stack) -> None:
    """Its login is OpenBao's static role; it reads pg_roles and others' sessions, not orders."""
    reader = mint(stack, "vk-t-inspect")
    inspector = login(stack, "inspector")
    assert refused(lambda: inspector.read("database-orders/creds/vk-t-inspect")) == 403
    static = inspector.read("database-orders/static-creds/orders-inspector")["data"]
    with connect(stack, reader) as watched, connect(stack, static) as look:
        watched.execute("SELECT 1")
        roles = look.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'vk-t-inspect'")
        assert roles.fetchall() == [(True,)]
        sessions = look.execute(
            "SELECT query FROM pg_stat_activity WHERE usename = %s", ["vk-t-inspect"]
        )
        assert sessions.fetchall() == [("SELECT 1",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            look.execute("SELECT * FROM public.customers")
    end(stack, "vk-t-inspect")


def test_openbao_refuses_a_token_that_is_not_the_servers(stack: Stack) -> None:
    """Another subject, another audience, another realm's key: no login."""
    bao = Bao(stack.openbao.address)
    platform = stack.realm("platform")
    good = {"sub": "valetkey-server", "aud": "openbao"}
    assert bao.login("valetkey-inspector", platform.sign(good, life=60)).token
    wrong = [
        platform.sign(good | {"sub": "refund-bot"}, life=60),
        platform.sign(good | {"aud": "valetkey"}, life=60),
        platform.sign(good | {"exp": int(time.time()) - 3600}, life=60),
        stack.realm("workloads").sign(good, life=60),
        stack.realm("workloads").sign(good | {"iss": platform.issuer}, life=60),
    ]
    for token in wrong:
        assert refused(partial(bao.login, "valetkey-inspector", token)) in (400, 403)


def test_the_connection_user_is_no_superuser_and_has_only_admin_on_the_groups(
    stack: Stack,
) -> None:
    """valetkey_manager may make roles and give group roles away; it neither is nor becomes one."""
    with psycopg.connect(stack.superuser_dsn()) as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolsuper").fetchall()
        assert rows == [("postgres",)]
        manager = connection.execute(
            "SELECT rolcreaterole, rolbypassrls, rolcreatedb FROM pg_roles "
            "WHERE rolname = 'valetkey_manager'"
        ).fetchone()
        on_groups = connection.execute(
            "SELECT DISTINCT admin_option, inherit_option, set_option FROM pg_auth_members "
            "WHERE member = 'valetkey_manager'::regrole AND roleid::regrole::text LIKE 'orders_%'"
        ).fetchall()
    assert manager == (True, False, False)
    assert on_groups == [(True, False, False)]


def test_the_application_can_neither_create_in_its_database_nor_reach_the_target(
    stack: Stack,
) -> None:
    """valetkey_app is not the owner: no DDL, and no CONNECT to orders; the owner has both DDL."""
    with (
        psycopg.connect(stack.app_dsn(), autocommit=True) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute("CREATE TABLE sneaked_in ()")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(stack.postgres.dsn("orders", "valetkey_app"))
    with psycopg.connect(stack.owner_dsn()) as owner:
        owner.execute("CREATE TABLE by_owner ()")
        owner.execute("GRANT SELECT ON by_owner TO valetkey_app")
        owner.rollback()


def test_provisioning_again_changes_nothing_and_replaces_the_writers_policies(
    stack: Stack,
) -> None:
    """A live credential survives it; a writer policy given anew takes its place at once."""
    credential = mint(stack, "vk-t-again")
    try:
        stack.provision(
            {"orders-db": 'path "database-orders/roles/vk-new-*" { capabilities = ["create"] }'}
        )
        assert refused(lambda: write_role(stack, "vk-t-other")) == 403
        with connect(stack, credential) as session:
            assert session.execute("SELECT count(*) FROM customers").fetchone() == (3,)
    finally:
        stack.provision()
    end(stack, "vk-t-again")


def test_openbao_ends_its_own_requests_after_the_configured_time(stack: Stack) -> None:
    """The minters plan with this limit: 90 s unless the options say otherwise."""
    found = stack.openbao.as_root().read("sys/config/state/sanitized")["data"]
    assert found["listeners"][0]["config"]["max_request_duration"] == "90s"
    assert found["storage"]["type"] == "raft"
