"""What a store says of people who let agents act for them, and of what is done on their behalf."""

from __future__ import annotations

import pytest

from tests.contract.examples import MINUTE, Examples
from valetkey.core.on_behalf import Person
from valetkey.ports import Store

PAT = "https://people pat ü"


@pytest.fixture
def some(store: Store) -> Examples:
    """One agent with a task, and another agent."""
    made = Examples(store)
    with store.transaction() as tx:
        made.ground(tx)
        tx.add_agent(made.agent(2))
    return made


def test_a_delegation_comes_back_as_it_was_written(store: Store, some: Examples) -> None:
    """Whole, held in every way, also once it was taken back."""
    one = some.delegation(source="may_act")
    with store.transaction() as tx:
        tx.add_delegation(one)
        assert tx.delegation(one.id) == one
    with store.transaction() as tx:
        assert tx.delegation(one.id, share=True) == one
        assert tx.delegation("delegation_9") is None
        tx.save_delegation(one.withdrawn("https://people opal", some.now + MINUTE))
    with store.transaction() as tx:
        found = tx.delegation(one.id, lock=True)
    assert found == one.withdrawn("https://people opal", some.now + MINUTE)
    assert not found.is_live(some.now)


def test_delegations_are_found_by_person_and_agent_newest_first(
    store: Store, some: Examples
) -> None:
    """By principal or by address; another person's and another agent's are not."""
    other = Person("https://people otto", "otto@example.com")
    with store.transaction() as tx:
        for number, changes in enumerate(({}, {"agent_id": "agent_2"}, {"person": other}), 1):
            tx.add_delegation(some.delegation(number, **changes))
    with store.transaction() as tx:
        asked = ((None, None), (PAT, None), ("pat@example.com", "agent_1"), (None, "agent_2"))
        found = [[x.id[-1] for x in tx.delegations(*which)] for which in asked]
        assert list(tx.delegations("nobody", None)) == []
    assert found == [["3", "2", "1"], ["2", "1"], ["1"], ["2"]]


def test_what_rests_on_a_delegation_is_its_open_roots(store: Store, some: Examples) -> None:
    """Oldest first; neither what has ended nor what rests on another one."""
    with store.transaction() as tx:
        tx.add_delegation(some.delegation())
        for number in (4, 3, 2):
            tx.add_task(some.task(number, delegation_id="delegation_1"))
        tx.add_task(some.task(5, delegation_id="delegation_2"))
        tx.save_task(some.task(3, delegation_id="delegation_1").ended("ended", some.now))
    with store.transaction() as tx:
        assert [task.id for task in tx.open_tasks_on("delegation_1")] == ["task_2", "task_4"]


def test_what_is_done_for_a_person_is_found_at_any_depth(store: Store, some: Examples) -> None:
    """Tasks and leases by the principal that each task carries, newest first."""
    with store.transaction() as tx:
        tx.add_task(some.task(2, on_behalf_of=PAT))
        tx.add_task(
            some.task(3, on_behalf_of=PAT, parent_id="task_2", ancestors=("task_2",))
        )
        tx.add_lease(some.lease(1))
        tx.add_lease(some.lease(2, task_id="task_2"))
        tx.add_lease(some.lease(3, task_id="task_3"))
    with store.transaction() as tx:
        assert [task.id for task in tx.tasks_for(PAT)] == ["task_3", "task_2"]
        assert [lease.id for lease in tx.leases_for(PAT)] == ["lease_0003", "lease_0002"]
        assert list(tx.tasks_for("pat@example.com")) == []
        assert list(tx.leases_for("nobody")) == []
