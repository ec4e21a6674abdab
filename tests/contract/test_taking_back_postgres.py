"""Taking a delegation back among many who begin and ask at that moment, on PostgreSQL."""

from __future__ import annotations

import threading
import time

import pytest

from tests.contract.test_store_postgres import at_once
from valetkey.core.errors import BrokerError, DelegationEnded, LeaseEnded, TaskEnded
from valetkey.core.lease import LIVE
from valetkey.core.task import TaskState
from valetkey.flows.on_behalf import withdraw_delegation
from valetkey.flows.request_credential import request_credential
from valetkey.flows.sweep import sweep
from valetkey.store.sql_store import SqlStore
from valetkey.testing.brokers import Stage

OVER = (DelegationEnded, TaskEnded, LeaseEnded)


@pytest.mark.parametrize("who", ["one", "two"])
def test_once_it_is_taken_back_nothing_begins_or_lives_on_it(
    sql_store: SqlStore, who: str
) -> None:
    """Whoever begins a task or asks meanwhile is refused or ended, also when two take it back."""
    stage = Stage(sql_store)
    given = stage.given(minutes=30)
    begun: list[str] = []

    def work_until_over() -> BrokerError:
        for _ in range(300):
            try:
                task = stage.start("orders-db:read", on_behalf_of=given.id)
                begun.append(task.id)
                request_credential(stage.broker, stage.bot, stage.ask(task))
            except OVER as refused:
                return refused
        raise AssertionError("it was never taken back")

    def take_back() -> None:
        until = time.monotonic() + 10
        while len(begun) < 8 and time.monotonic() < until:
            threading.Event().wait(0.01)
        withdraw_delegation(stage.broker, stage.pat, given.id)

    met = at_once([work_until_over] * 4 + [take_back] * (1 if who == "one" else 2))
    assert all(isinstance(x, OVER) for x in met[:4]), met
    assert met[4:] == [None] * len(met[4:])
    while sweep(stage.broker):
        pass
    with sql_store.transaction() as tx:
        assert list(tx.open_tasks_on(given.id)) == []
        for_pat = str(stage.pat.principal)
        assert len(tx.tasks_for(for_pat)) == len(begun) > 0
        assert all(x.state is TaskState.ENDED for x in tx.tasks_for(for_pat))
        assert [x.id for x in tx.leases_for(for_pat) if x.state in LIVE] == []
        (taken,) = tx.delegations(for_pat, None)
    assert taken.withdrawn_by == for_pat
