"""What a store says of tasks under tasks: who stands above, what is below, what a kill reaches."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.examples import MINUTE, Examples
from valetkey.core.kill import Height
from valetkey.core.task import TaskState
from valetkey.ports import Duty, Store

PASSED_ON = [
    (Height.AGENT, "agent_1"),
    (Height.OWNER, "olivia@example.com"),
    (Height.VENDOR, "acme"),
    (Height.ISSUER, "cluster"),
    (Height.TASK, "task_1"),
    (Height.PERSON, "pat@example.com"),
    (Height.PERSON, "https://people pat ü"),
]


@pytest.fixture
def tree(store: Store) -> Examples:
    """task_1 of one agent, task_2 of another under it, task_3 under that, with a lease."""
    some = Examples(store)
    theirs = {"agent_id": "agent_2", "owner": "otto@example.com", "issuer": "mesh"}
    with store.transaction() as tx:
        some.ground(tx)
        tx.save_agent(some.agent(labels={"vendor": "acme"}))
        tx.add_agent(some.agent(2, owner="otto@example.com", labels={"vendor": "other"}))
        tx.add_delegation(some.delegation())
        tx.save_task(some.task(issuer="cluster", delegation_id="delegation_1"))
        tx.add_task(some.task(2, parent_id="task_1", ancestors=("task_1",), **theirs))
        above = ("task_1", "task_2")
        tx.add_task(some.task(3, parent_id="task_2", ancestors=above, **theirs))
        tx.add_grant(some.grant(2, task_id="task_3", agent_id="agent_2"))
        lease = {"grant_id": "grant_2", "agent_id": "agent_2", "owner": "otto@example.com"}
        tx.add_lease(some.lease(1, task_id="task_3", **lease))
    return some


def test_everything_above_a_task_is_told_from_the_root_down(store: Store, tree: Examples) -> None:
    """With each agent, as it is now; a root has nothing above it."""
    with store.transaction() as tx:
        deepest, root = tx.standing("task_3"), tx.standing("task_1")
    assert deepest is not None
    assert root is not None
    assert [(x.task.id, x.agent.id) for x in deepest.above] == [
        ("task_1", "agent_1"),
        ("task_2", "agent_2"),
    ]
    assert (deepest.kills, root.above) == ((), ())
    assert [link.delegation for link in deepest.line] == [tree.delegation(), None, None]
    assert root.delegation == tree.delegation()


@pytest.mark.parametrize(("height", "subject"), PASSED_ON)
def test_a_kill_above_reaches_all_that_hangs_below(
    store: Store, tree: Examples, height: Height, subject: str
) -> None:
    """It is told with the standing, covers the lease, and is due until that ends."""
    ordered = tree.kill(height=height, subject=subject)
    with store.transaction() as tx:
        tx.add_kill(ordered)
    with store.transaction() as tx:
        standing = tx.standing("task_3")
        assert standing is not None
        assert [kill.id for kill in standing.kills] == [ordered.id]
        (living,) = tx.live_leases(ordered, 10)
        assert [lease.id for lease in tx.leases_under(ordered)] == [living.id]
    assert Duty.KILLS in store.due()
    with store.transaction() as tx:
        current = tx.lease(living.id, lock=True)
        assert current is not None
        tx.save_lease(current.ending("killed", tree.now + MINUTE))
        tx.save_task(tree.task(issuer="cluster", state=TaskState.ENDED, ended_at=tree.now))
    with store.transaction() as tx:
        assert ordered.id not in {kill.id for kill in tx.kills_unfinished()}


def test_a_kill_beside_reaches_nothing_below(store: Store, tree: Examples) -> None:
    """Another agent's kill is not told and covers nothing; one of the lower agent is, once."""
    beside = tree.kill(1, height=Height.AGENT, subject="agent_9")
    below = tree.kill(2, height=Height.AGENT, subject="agent_2")
    with store.transaction() as tx:
        tx.add_kill(beside)
        tx.add_kill(below)
    with store.transaction() as tx:
        standing = tx.standing("task_3")
        assert standing is not None
        assert [kill.id for kill in standing.kills] == [below.id]
        assert tx.live_leases(beside, 10) == []


def test_what_is_below_a_task_is_found_at_any_depth(store: Store, tree: Examples) -> None:
    """Oldest first, without itself; a leaf has nothing below."""
    with store.transaction() as tx:
        assert [task.id for task in tx.tasks_below("task_1")] == ["task_2", "task_3"]
        assert [task.id for task in tx.tasks_below("task_2")] == ["task_3"]
        assert list(tx.tasks_below("task_3")) == []
        assert [task.id for task in tx.open_tasks_of("agent_2")] == ["task_2", "task_3"]


def test_a_task_left_by_its_parent_is_overdue(store: Store, tree: Examples) -> None:
    """Only the direct child: what is below that is left when that has ended."""
    assert store.due() == frozenset()
    with store.transaction() as tx:
        tx.save_task(tree.task(state=TaskState.ENDED, ended_at=tree.now))
    assert store.due() == {Duty.TASKS}
    with store.transaction() as tx:
        assert [task.id for task in tx.tasks_overdue(10)] == ["task_2"]


def test_a_credential_counts_against_every_limit_of_its_line(
    store: Store, tree: Examples
) -> None:
    """A line with one limit spent counts nothing at all; a task without limits never is."""
    limited = {"starter_jkt": "jkt", "deadline_at": tree.now + timedelta(hours=1)}
    with store.transaction() as tx:
        tx.add_task(replace(tree.task(4, **limited), max_credentials=3))
        tx.add_task(replace(tree.task(5, **limited), max_credentials=1))
    spent = []
    for line in (["task_4"], ["task_4", "task_5"], ["task_4", "task_5"], ["task_4"], ["task_4"]):
        with store.transaction() as tx:
            spent.append(tx.spend(line))
    assert spent == [True, True, False, True, False]
    with store.transaction() as tx:
        assert tx.spend(["task_1"])
        assert (tx.task("task_4") or tree.task()).max_credentials == 3


def test_open_tasks_are_counted_for_who_opened_them(store: Store, tree: Examples) -> None:
    """Roots for their own agent, children for the agent they hang on; no further than asked."""
    with store.transaction() as tx:
        assert (tx.opened_by("agent_1", 9), tx.opened_by("agent_2", 9)) == (2, 1)
        assert tx.opened_by("agent_1", 1) == 1
        third = tx.task("task_3")
        assert third is not None
        tx.save_task(third.ended("done", tx.now()))
        assert (tx.opened_by("agent_1", 9), tx.opened_by("agent_2", 9)) == (2, 0)
