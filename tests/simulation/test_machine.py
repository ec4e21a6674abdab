"""Any verb after any other, on the memory store and, shorter, on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.databases import Databases
from tests.faults.rows import row
from tests.simulation.machine import Flows
from valetkey.store.sql_store import open_store
from valetkey.testing.brokers import Stage

QUICK = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
SHORT = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_any_verb_may_follow_any_other() -> None:
    """In memory, with time moving at will."""

    class InMemory(Flows):
        """With a tally of its own."""

        ever_handed_out: ClassVar[list[str]] = []

    run_state_machine_as_test(InMemory, settings=QUICK)
    assert InMemory.ever_handed_out


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    """What is opened on the way is closed."""
    with ExitStack() as opened:
        yield opened


@row("F35")
def test_any_verb_may_follow_any_other_on_postgres(
    databases: Databases, resources: ExitStack
) -> None:
    """The same on the real store, whose time is its own."""

    def stage() -> Stage:
        store = open_store(databases.app(databases.fresh()))
        resources.callback(store.close)
        return Stage(store)

    class OnPostgres(Flows):
        """A fresh database for each run."""

        make_stage = staticmethod(stage)
        moves_time = False
        ever_handed_out: ClassVar[list[str]] = []

    run_state_machine_as_test(OnPostgres, settings=SHORT)
    assert OnPostgres.ever_handed_out
