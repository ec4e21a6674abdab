"""This version on a database that a newer one writes to: what it does not know, it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.api.hall import Hall
from tests.contract.databases import Databases
from tests.faults.rows import row
from valetkey.clockwork import Beats, Clockwork
from valetkey.flows.doctor import doctor
from valetkey.flows.sweep import sweep
from valetkey.store.sql_store import SqlStore, open_store

Sql = Callable[[str], list[tuple[Any, ...]]]
DUE = "due_at = clock_timestamp(), mint_until = now(), second_tap_at = now()"


@pytest.fixture
def shared(databases: Databases) -> str:
    """The name of a database that a newer version has migrated: it knows more states than we."""
    name = databases.fresh()
    with psycopg.connect(databases.superuser(name)) as connection:
        connection.execute("ALTER TABLE leases DROP CONSTRAINT ck_leases_known_state")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    return name


@pytest.fixture
def newer(databases: Databases, shared: str) -> Sql:
    """What the newer version does, in SQL."""

    def run(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(databases.superuser(shared)) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

    return run


@pytest.fixture
def older(databases: Databases, shared: str) -> Iterator[Hall]:
    """This version, with its API, on that database."""
    store: SqlStore = open_store(databases.app(shared), pool=8)
    with ExitStack() as resources:
        yield Hall(resources, store)
    store.close()


def given(hall: Hall, task: str) -> str:
    """The lease of a new credential."""
    answer = hall.bot.ask(task)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["lease"]["id"])


@row("F40", "I12")
def test_leases_that_only_a_newer_version_knows_are_left_alone(older: Hall, newer: Sql) -> None:
    """An unknown state and an unknown minter are never claimed; what is due beside them ends."""
    task = older.bot.start()["id"]
    paused, foreign, plain = (given(older, task) for _ in range(3))
    newer(f"UPDATE leases SET state = 'paused', end_class = 'paused', {DUE} WHERE id = '{paused}'")
    newer(
        f"UPDATE leases SET minter = 'lunar', {DUE},"
        f""" handle = handle || '{{"minter": "lunar", "orbit": 3}}' WHERE id = '{foreign}'"""
    )
    newer(f"UPDATE leases SET {DUE} WHERE id = '{plain}'")
    before = newer(f"SELECT * FROM leases WHERE id IN ('{paused}', '{foreign}') ORDER BY id")
    Clockwork(older.stage.broker, Beats(tick=timedelta(seconds=1))).tick()
    assert sweep(older.stage.broker) == 0
    after = newer(f"SELECT * FROM leases WHERE id IN ('{paused}', '{foreign}') ORDER BY id")
    assert after == before
    assert newer(f"SELECT state FROM leases WHERE id = '{plain}'") == [("ended",)]
    named = {v.about: v.detail for v in doctor(older.stage.broker) if v.invariant == "I12"}
    assert named.keys() == {paused, foreign}
    assert "paused" in named[paused] and "lunar" in named[foreign]


@row("F40")
def test_lists_show_what_only_a_newer_version_knows(older: Hall, newer: Sql) -> None:
    """Words of a newer version are answered as they are written, not with an error."""
    task = older.bot.start()["id"]
    lease = given(older, task)
    newer(f"UPDATE leases SET state = 'paused' WHERE id = '{lease}'")
    newer(f"UPDATE tasks SET state = 'adjourned' WHERE id = '{task}'")
    newer("UPDATE agents SET state = 'suspended'")
    newer("UPDATE grants SET state = 'deferred'")
    newer(
        "INSERT INTO facts (kind, by, outcome, lease_id, body)"
        f" VALUES ('LeasePaused', 'clock', 'done', '{lease}', '{{}}')"
    )
    assert [x["state"] for x in older.operator.get("/v1/leases")["items"]] == ["paused"]
    assert [x["state"] for x in older.operator.get("/v1/leases?state=paused")["items"]]
    assert [x["state"] for x in older.operator.get("/v1/tasks")["items"]] == ["adjourned"]
    assert [x["state"] for x in older.operator.get("/v1/agents")["items"]] == ["suspended"]
    assert [x["state"] for x in older.operator.get("/v1/grants")["items"]] == ["deferred"]
    assert older.operator.get("/v1/history?limit=1")["items"][0]["kind"] == "LeasePaused"
    assert older.operator.get(f"/v1/leases/{lease}/lineage")["lease"]["state"] == "paused"


@row("F40")
@pytest.mark.parametrize(
    ("table", "state", "code"),
    [("tasks", "adjourned", "task_ended"), ("agents", "suspended", "agent_disabled")],
)
def test_nothing_is_given_in_a_state_that_only_a_newer_version_knows(
    older: Hall, newer: Sql, table: str, state: str, code: str
) -> None:
    """A task that is not open, and an agent that is not accepted, get nothing; the state stays."""
    task = older.bot.start()["id"]
    newer(f"UPDATE {table} SET state = '{state}'")
    assert older.bot.ask(task).json()["code"] == code
    assert newer(f"SELECT state FROM {table}") == [(state,)]


@row("F40", "I8")
def test_a_kill_of_a_height_that_only_a_newer_version_knows_stops_issuing(
    older: Hall, newer: Sql
) -> None:
    """It may cover anything, so nothing new is given; what is out is not ended by us."""
    task = older.bot.start()["id"]
    lease = given(older, task)
    newer(
        "INSERT INTO kills (id, height, subject, reason, by, at)"
        " VALUES ('kill_1', 'continent', 'eu', 'x', 'opal', clock_timestamp())"
    )
    Clockwork(older.stage.broker, Beats()).tick()
    assert older.bot.ask(task).json()["code"] == "killed"
    assert newer(f"SELECT state FROM leases WHERE id = '{lease}'") == [("active",)]
    assert [v.about for v in doctor(older.stage.broker)] == ["kill_1"]
    newer("UPDATE kills SET released_at = clock_timestamp(), released_by = 'otto'")
    assert older.bot.ask(task).status_code == 201


@row("F40", "I5")
def test_a_mint_whose_lease_a_newer_version_moved_is_withheld(older: Hall, newer: Sql) -> None:
    """Who comes back to a state it does not know hands out nothing and changes nothing."""
    task = older.bot.start()["id"]

    def moved() -> None:
        newer("UPDATE leases SET state = 'paused', fence = fence + 1")

    older.stage.minter.after_mint = moved
    answer = older.bot.ask(task)
    assert answer.status_code >= 400 and "credential" not in answer.json()
    assert newer("SELECT state, fence FROM leases") == [("paused", 2)]
    assert [x.fact.kind for x in older.facts(kind="LeaseWithheld")]
