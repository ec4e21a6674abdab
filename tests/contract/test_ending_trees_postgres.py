"""Ending a tree on the real database, while somebody below still opens tasks in it."""

from __future__ import annotations

import threading
from datetime import timedelta

from tests.flows.test_delegation import READ_EU, passed_on
from valetkey.core.errors import BrokerError
from valetkey.core.scope import Scope
from valetkey.core.task import TaskState
from valetkey.flows.delegate import delegate
from valetkey.flows.end_task import close_task
from valetkey.flows.start_task import Plan
from valetkey.store.sql_store import SqlStore
from valetkey.testing.brokers import Stage


def test_what_is_opened_below_while_the_root_ends_ends_with_it(sql_store: SqlStore) -> None:
    """Each child that was opened before the lock is found; none is opened after it."""
    stage = Stage(store=sql_store)
    root = stage.start(READ_EU)
    child = passed_on(stage, root, stage.bot, READ_EU)
    plan = Plan("more", (Scope.parse(READ_EU),), timedelta(minutes=5))
    stop = threading.Event()

    def open_more() -> None:
        while not stop.is_set():
            try:
                delegate(stage.broker, stage.bot, child.id, plan)
            except BrokerError:
                return

    openers = [threading.Thread(target=open_more) for _ in range(4)]
    for opener in openers:
        opener.start()
    with sql_store.transaction() as tx:
        while len(tx.tasks_below(root.id)) < 8:
            pass
    with sql_store.transaction() as tx:
        locked = tx.task(root.id, lock=True)
        assert locked is not None
        close_task(tx, locked, "ended", "olivia")
    stop.set()
    for opener in openers:
        opener.join(30)
    with sql_store.transaction() as tx:
        below = tx.tasks_below(root.id)
    assert len(below) >= 8
    assert {task.state for task in below} == {TaskState.ENDED}
