"""Migrations: up, down, up again; the same as the tables; and safe to run on a live database."""

from __future__ import annotations

import io
import json
import subprocess
import sysconfig
from pathlib import Path

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, inspect

from tests.contract.databases import Databases
from tests.faults.rows import row
from valetkey.store.migrations import _configuration, behind, migrate, unmigrate
from valetkey.store.sql_store import open_store
from valetkey.store.tables import metadata

SQUAWK = Path(sysconfig.get_path("scripts")) / "squawk"
EXCLUDED = {
    "prefer-text-field": "Alembic's own table, whose only field is a revision",
    "prefer-bigint-over-int": "seconds of at most a few hours, tries, epochs and generations",
    "prefer-robust-stmts": "a migration is one transaction, but for an index, dropped before it",
    "require-lock-timeout": "the tables are made in this migration, so that nobody waits for them",
    "require-statement-timeout": "the migration Job runs before `serve`, under its own deadline",
}


def tables_of(url: str) -> set[str]:
    """The tables that are there, but for Alembic's own."""
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def test_a_schema_that_is_older_than_this_version_is_seen(empty: str) -> None:
    """No schema and an older one are behind; the newest, and a newer one's, are not."""
    store = open_store(empty, pool=2)
    assert behind(store.schema())
    migrate(empty, to="0001")
    assert behind(store.schema())
    migrate(empty)
    assert not behind(store.schema())
    assert not behind("9999")
    store.close()


@row("F40")
def test_a_schema_that_is_newer_than_this_version_is_left_alone(empty: str) -> None:
    """An older version's `migrate`, as in a rollback, changes nothing and says so."""
    assert migrate(empty)
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = tables_of(empty)
    assert not migrate(empty)
    assert tables_of(empty) == before
    store = open_store(empty, pool=2)
    assert store.schema() == "9999"
    store.close()


def test_the_schema_goes_up_down_and_up_again(empty: str) -> None:
    """Nothing is left behind on the way down, and the second way up is like the first."""
    migrate(empty)
    assert tables_of(empty) == set(metadata.tables)
    unmigrate(empty)
    assert tables_of(empty) == set()
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        left = connection.execute(
            "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace"
            " WHERE nspname = 'public'"
        )
        assert left.fetchall() == []
    migrate(empty)
    assert tables_of(empty) == set(metadata.tables)


def test_migrating_twice_changes_nothing(empty: str, databases: Databases) -> None:
    """The installation keeps its name."""
    plain = empty.replace("+psycopg", "")
    names = []
    for _ in range(2):
        migrate(empty)
        with psycopg.connect(plain) as connection:
            names.append(connection.execute("SELECT id, epoch FROM installation").fetchall())
    assert names[0] == names[1]
    assert len(names[0]) == 1


def test_the_tables_in_code_are_the_tables_in_the_database(empty: str) -> None:
    """No drift: columns, types, nullability, indexes and keys."""
    migrate(empty)
    engine = create_engine(empty)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_checks_in_code_are_the_checks_in_the_database(empty: str) -> None:
    """Alembic does not compare these, so we do, by name."""
    migrate(empty)
    engine = create_engine(empty)
    found = inspect(engine)
    for name, table in metadata.tables.items():
        meant = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
        assert {c["name"] for c in found.get_check_constraints(name)} == meant
    engine.dispose()


def test_the_application_role_is_given_its_narrow_rights(empty: str) -> None:
    """History is only added to; what was used, sealed, bound or never in force may go."""
    migrate(empty)
    query = (
        "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
        " FROM information_schema.table_privileges WHERE grantee = 'valetkey_app' GROUP BY 1"
    )
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        given = dict(connection.execute(query).fetchall())
    for table in ("decisions", "approvals", "rules_activations"):
        assert given[table] == "INSERT SELECT"
    assert given["facts"] == "SELECT"  # and INSERT of some columns
    deletable = {name for name, rights in given.items() if "DELETE" in rights}
    may_go = {"uses", "buckets", "bindings", "sealed_answers", "rules_versions"}
    assert deletable == may_go
    assert not [name for name, rights in given.items() if "TRUNCATE" in rights]
    assert "UPDATE" not in given["installation"]


def test_the_migrations_pass_the_linter(tmp_path: Path) -> None:
    """Squawk complains of nothing but what is excluded here with a reason, and of all of that."""
    told = io.StringIO()
    configuration = _configuration("postgresql+psycopg://")
    configuration.output_buffer = told
    command.upgrade(configuration, "head", sql=True)
    script = tmp_path / "up.sql"
    script.write_text(told.getvalue())
    assert "CREATE TABLE leases" in script.read_text()
    found = subprocess.run([SQUAWK, "--reporter", "json", script], capture_output=True, text=True)
    complaints = {str(x["rule_name"]) for x in json.loads(found.stdout)}
    assert complaints == EXCLUDED.keys(), found.stdout


def test_leases_from_before_are_found_by_their_fingerprints(empty: str) -> None:
    """What an older version wrote, before the migration or after it, is in the new table."""
    migrate(empty, to="0001")
    plain = empty.replace("+psycopg", "")
    written = "INSERT INTO leases SELECT * FROM jsonb_populate_record(NULL::leases, %s::jsonb)"
    at = "2026-01-01T00:00:00Z"
    row = dict.fromkeys(("mint_until", "second_tap_at", "expires_at", "backend_expires_at"), at)
    row |= dict.fromkeys(("owner", "target", "scope", "catalogue_digest", "minter"), "x")
    row |= {"end_class": "verified", "state": "active", "cut_by": "asked", "created_at": at}
    more = {"fence": 1, "requested_ttl_seconds": 1, "granted_ttl_seconds": 1, "tries": 0}
    rest = {"handle": {}, "seen_outside": True, "due_at": at, "renewals": 0}
    for number, version in ((1, "0001"), (2, "head")):
        migrate(empty, to=version)
        told = {"id": f"lease_{number}", "fingerprints": ["same", str(number)]}
        with psycopg.connect(plain) as connection:
            connection.execute(written, [json.dumps({**row, **more, **rest, **told})])
    migrate(empty)
    with psycopg.connect(plain) as connection:
        connection.execute("UPDATE leases SET tries = 1, fingerprints = fingerprints")
        connection.execute("UPDATE leases SET fingerprints = '[\"new\"]' WHERE id = 'lease_1'")
        found = connection.execute("SELECT lease_id, fingerprint FROM fingerprints ORDER BY 1, 2")
        assert found.fetchall() == [
            ("lease_1", "1"),
            ("lease_1", "new"),
            ("lease_1", "same"),
            ("lease_2", "2"),
            ("lease_2", "same"),
        ]
