"""Somebody with the application's database login tries to make history other than it was."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.contract.databases import Databases
from tests.contract.databases import databases as databases
from tests.stack import stack as stack
from valetkey.core.facts import Fact, FactKind, HistoryQuery
from valetkey.store.sql_store import SqlStore, open_store

FORGED = "'LeaseEnded', 'clock', 'verified', '{}'"
SAID = "kind, by, outcome, body"
REWRITES = (
    f"INSERT INTO facts ({SAID}, at) VALUES ({FORGED}, now() - interval '9 d')",
    f"INSERT INTO facts (number, {SAID}) OVERRIDING SYSTEM VALUE VALUES (1000000, {FORGED})",
    "MERGE INTO facts USING (SELECT 1) AS x ON true WHEN MATCHED THEN DELETE",
    "SELECT setval('facts_number_seq', 1)",
    "SELECT number FROM facts FOR UPDATE",
    "LOCK TABLE facts IN ACCESS EXCLUSIVE MODE",
    "CREATE RULE nothing AS ON INSERT TO facts DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "SET ROLE valetkey_owner",
    "COPY facts TO PROGRAM 'true'",
)


@pytest.fixture(scope="module")
def name(databases: Databases) -> str:
    """A database with one fact in it."""
    return databases.fresh()


@pytest.fixture(scope="module")
def store(databases: Databases, name: str) -> Iterator[SqlStore]:
    """The real store, as the application."""
    store = open_store(databases.app(name), pool=2)
    with store.transaction() as tx:
        tx.record(Fact(FactKind.KNOCKED, "x"))
    yield store
    store.close()


@pytest.mark.parametrize("statement", REWRITES)
def test_history_is_neither_rewritten_nor_made_up_for_the_past(
    databases: Databases, name: str, store: SqlStore, statement: str
) -> None:
    """A fact has the database's number and the database's time, whoever adds it."""
    plain = databases.app(name).replace("+psycopg", "")
    with (
        psycopg.connect(plain) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())
    with store.transaction() as tx:
        assert [entry.fact.kind for entry in tx.history(HistoryQuery())] == [FactKind.KNOCKED]
