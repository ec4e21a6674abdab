"""The revocation statements at a real PostgreSQL, run by a manager that is not superuser."""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg
import pytest

from tests.policy.outside import Outside, Reconnecting
from valetkey.core.catalogue import Catalogue, CataloguedScope
from valetkey.core.scope import Scope
from valetkey.core.statements import DatabaseRole, database_role

READ_EU = Scope("orders-db", "read", (("region", "eu"),))


@pytest.fixture
def role(catalogue: Catalogue) -> DatabaseRole:
    """The sample's read scope for one region."""
    return database_role(catalogue.find(READ_EU), "orders-0")


def with_heir(wanted: CataloguedScope, heir: str) -> DatabaseRole:
    """The same scope, with an heir for what its credentials own."""
    definition = replace(wanted.definition, reassign_owned_to=heir)
    return database_role(replace(wanted, definition=definition), "orders-0")


def test_an_open_session_is_cut_and_the_role_is_gone(outside: Outside, role: DatabaseRole) -> None:
    """Not only new logins: what is open drops."""
    credential = outside.mint(role)
    with outside.login(credential) as session:
        session.execute("SELECT count(*) FROM orders")
        outside.revoke(credential)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not outside.role_exists(credential.name)
    with pytest.raises(psycopg.OperationalError):
        outside.login(credential)


def test_clients_that_reconnect_in_a_loop_stay_out(outside: Outside, role: DatabaseRole) -> None:
    """NOLOGIN is committed before sessions are cut, so nobody slips back in."""
    credential = outside.mint(role)
    clients = [Reconnecting(outside, credential) for _ in range(3)]
    for client in clients:
        client.wait_until_in()
    outside.revoke(credential)
    ended = time.monotonic()
    assert [client.worked_after(ended, 0.3) for client in clients] == [0, 0, 0]
    assert not outside.role_exists(credential.name)


def test_ending_a_role_that_is_gone_succeeds(outside: Outside, role: DatabaseRole) -> None:
    """A second ending, or one after somebody dropped the role, is no failure."""
    credential = outside.mint(role)
    with outside.superuser() as connection:
        connection.execute(f'DROP ROLE "{credential.name}"')
    outside.revoke(credential)
    assert not outside.role_exists(credential.name)


def test_what_it_owned_is_dropped_or_goes_to_the_heir(
    outside: Outside, catalogue: Catalogue, role: DatabaseRole
) -> None:
    """Without an heir its objects go with it; with one they stay."""
    with outside.superuser() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS drafts")
        connection.execute("GRANT USAGE, CREATE ON SCHEMA drafts TO orders_eu_reader, orders_owner")
        connection.execute("GRANT orders_owner TO valetkey_manager")
    try:
        for kind, expected in (
            (role, None),
            (with_heir(catalogue.find(READ_EU), "orders_owner"), "orders_owner"),
        ):
            credential = outside.mint(kind)
            with outside.login(credential) as session:
                session.execute("CREATE TABLE drafts.mine (i int)")
            outside.revoke(credential)
            assert not outside.role_exists(credential.name)
            assert _owner_of(outside, "mine") == expected
    finally:
        with outside.superuser() as connection:
            connection.execute("DROP SCHEMA drafts CASCADE")
            connection.execute("REVOKE orders_owner FROM valetkey_manager")


def test_a_session_can_see_its_region_and_nothing_else(
    outside: Outside, role: DatabaseRole
) -> None:
    """Membership inherits the group's rights and cannot be hidden behind by SET ROLE."""
    credential = outside.mint(role)
    with outside.login(credential) as session:
        regions = session.execute("SELECT DISTINCT region FROM orders").fetchall()
        assert regions == [("eu",)]
        for act in (
            "SET ROLE orders_eu_reader",
            "SET ROLE valetkey_manager",
            "INSERT INTO orders SELECT * FROM orders",
            "CREATE ROLE other",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(act)
    outside.revoke(credential)


def _owner_of(outside: Outside, table: str) -> str | None:
    with outside.superuser() as connection:
        row = connection.execute(
            "SELECT tableowner FROM pg_tables WHERE tablename = %s", [table]
        ).fetchone()
    return row[0] if row else None
