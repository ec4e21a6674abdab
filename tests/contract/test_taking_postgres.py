"""Starting and taking tasks on a real database, where rows are locked by others."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

from tests.contract.examples import Examples
from valetkey.core.errors import BrokerError
from valetkey.core.principal import Caller
from valetkey.flows.delegate import take_task
from valetkey.store.sql_store import SqlStore
from valetkey.testing.brokers import Stage

TASKS, KEYS = range(100, 110), ("one", "two", "three", "four")


def test_keys_that_take_one_task_at_once_do_not_wait_for_each_other_in_a_ring(
    sql_store: SqlStore,
) -> None:
    """One has it, the others are told so: a ring would hold the kill barrier until it is found."""
    stage, some = Stage(sql_store), Examples(sql_store)
    with sql_store.transaction() as tx:
        some.ground(tx)
        for number in TASKS:
            under = {"parent_id": "task_1", "ancestors": ("task_1",), "starter_jkt": ""}
            tx.add_task(some.task(number, **under))
    gate = Barrier(len(KEYS))

    def take(key: str) -> list[str]:
        caller = replace(stage.bot, agent_id="agent_1", jkt=key)
        return [outcome(caller, f"task_{number}") for number in TASKS]

    def outcome(caller: Caller, task_id: str) -> str:
        gate.wait(30)
        try:
            take_task(stage.broker, caller, task_id)
        except BrokerError as error:
            return error.code
        return "taken"

    with ThreadPoolExecutor(len(KEYS)) as threads:
        outcomes = Counter(one for each in threads.map(take, KEYS) for one in each)
    assert outcomes == {"taken": len(TASKS), "not_found": 3 * len(TASKS)}


def test_starters_at_once_do_not_open_more_tasks_than_may_be_open(sql_store: SqlStore) -> None:
    """For the last places too: who comes to count waits for who has counted."""
    stage, most = Stage(sql_store), 3
    limits = replace(stage.broker.limits, open_tasks=most)
    stage.broker = replace(stage.broker, limits=limits)
    gate = Barrier(6)

    def outcome(_: int) -> str:
        gate.wait(30)
        try:
            stage.start()
        except BrokerError as error:
            return error.code
        return "started"

    with ThreadPoolExecutor(6) as threads:
        assert Counter(threads.map(outcome, range(6))) == {"started": most, "rate_limited": 3}
