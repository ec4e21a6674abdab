"""What every store does to keep leases and requests within their limits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.contract.examples import Examples
from valetkey.core.admission import Ceilings, Rate
from valetkey.core.kill import Reach
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore

HERE = Reach("agent_1", "task_1", "orders-db")
FAR = 1_000_000
AT_ONCE = 16


@pytest.fixture
def some(store: Store) -> Examples:
    """Examples around the store's time, and the ground they stand on."""
    examples = Examples(store)
    with store.transaction() as tx:
        examples.ground(tx)
        tx.add_agent(examples.agent(2))
        tx.add_task(examples.task(2))
    return examples


def reached(store: Store, ceilings: Ceilings, reach: Reach = HERE) -> str | None:
    """What one more lease there would go beyond."""
    with store.transaction() as tx:
        return tx.ceiling_reached(reach, ceilings)


def ended(lease: Lease) -> Lease:
    """The same, over."""
    return lease.ended(Proof.VERIFIED, lease.created_at)


def test_each_ceiling_counts_what_is_its_own(store: Store, some: Examples) -> None:
    """A lease of another task, agent or target is counted there and in all."""
    with store.transaction() as tx:
        tx.add_lease(some.lease(1))
        tx.add_lease(some.lease(2, task_id="task_2"))
        tx.add_lease(some.lease(3, agent_id="agent_2", task_id="task_2"))
        tx.add_lease(some.lease(4, agent_id="agent_2", task_id="task_2", target="other-db"))
    assert reached(store, Ceilings(FAR, FAR, FAR, FAR)) is None
    for name, live in (("task", 1), ("agent", 2), ("target", 3), ("everything", 4)):
        least = {**vars(Ceilings(FAR, FAR, FAR, FAR)), name: live + 1}
        assert reached(store, Ceilings(**least)) is None, name
        full = {"everything": "all"}.get(name, name)
        assert reached(store, Ceilings(**{**least, name: live})) == full, name
    assert reached(store, Ceilings(1, 1, 3, FAR), Reach("agent_3", "task_3", "third-db")) is None


def test_a_lease_counts_until_its_end_is_proven(store: Store, some: Examples) -> None:
    """Minting, active, ending and stuck count; ended does not."""
    kinds = (LeaseState.MINTING, LeaseState.ACTIVE, LeaseState.ENDING, LeaseState.STUCK)
    with store.transaction() as tx:
        for number, state in enumerate(kinds, 1):
            tx.add_lease(some.lease(number, state=state))
        tx.add_lease(ended(some.lease(5)))
    assert reached(store, Ceilings(task=5)) is None
    assert reached(store, Ceilings(task=4)) == "task"


def test_leases_are_found_by_any_part_of_their_secret(store: Store, some: Examples) -> None:
    """By one fingerprint or several, ended ones too; nothing for a strange one or for none."""
    with store.transaction() as tx:
        tx.add_lease(some.lease(1, fingerprints=("a", "b")))
        tx.add_lease(some.lease(2, fingerprints=()))
    with store.transaction() as tx:
        second = tx.lease("lease_0002", lock=True)
        assert second is not None
        tx.save_lease(second.activated(some.now, second.backend_expires_at, "ref", ("b", "c")))
    with store.transaction() as tx:
        first = tx.lease("lease_0001", lock=True)
        assert first is not None
        tx.save_lease(ended(first.ending("revoked", some.now)))
        found = {
            prints: [x.id for x in tx.leases_of_secret(prints)]
            for prints in (("a",), ("b",), ("c", "a"), ("x",), ())
        }
    both = ["lease_0001", "lease_0002"]
    assert found == {("a",): both[:1], ("b",): both, ("c", "a"): both, ("x",): [], (): []}


def test_a_bucket_is_emptied_by_its_principal_alone(store: Store) -> None:
    """A burst passes, then one is told how long to wait; another principal is not."""
    rate = Rate(0.5, 3)
    assert [store.admit("one", rate) for _ in range(3)] == [None, None, None]
    wait = store.admit("one", rate)
    assert wait is not None and 0 < wait <= 2
    assert store.admit("one " + "x" * 5000, rate) is None
    assert store.admit("two", rate) is None


def test_a_bucket_fills_with_time(sql_store: SqlStore) -> None:
    """Sixty requests at a thousand per second over a bucket of one: all but few wait, none long."""
    rate = Rate(1000, 1)
    waits = [sql_store.admit("one", rate) for _ in range(60)]
    assert None in waits[1:]
    assert all(wait <= 0.001 for wait in waits if wait is not None)


def test_a_bucket_is_shared_by_all_who_come_at_once(sql_store: SqlStore) -> None:
    """Forty requests at once from eight threads take no more than there is."""
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: sql_store.admit("one", Rate(0.01, 25)), range(40)))
    assert waits.count(None) == 25


@pytest.mark.parametrize(
    ("name", "before"), [("task", 0), ("agent", 0), ("target", 0), ("all", 0), ("target", 230)]
)
def test_a_ceiling_is_kept_exactly_however_many_come_at_once(
    sql_store: SqlStore, name: str, before: int
) -> None:
    """Of sixteen at once ten find room, be it far below the ceiling at first or not."""
    some = Examples(sql_store)
    with sql_store.transaction() as tx:
        some.ground(tx)
        for number in range(before):
            tx.add_lease(some.lease(1000 + number, agent_id=None, task_id=None))
    field = "everything" if name == "all" else name
    ceilings = Ceilings(**{**vars(Ceilings(FAR, FAR, FAR, FAR)), field: before + 10})
    gate = threading.Barrier(AT_ONCE)

    def come(number: int) -> str | None:
        gate.wait()
        with sql_store.transaction() as tx:
            full = tx.ceiling_reached(HERE, ceilings)
            if full is None:
                tx.add_lease(some.lease(number))
            return full

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert sorted(map(str, pool.map(come, range(AT_ONCE)))) == ["None"] * 10 + [name] * 6


def test_nobody_waits_for_anybody_far_from_a_ceiling(sql_store: SqlStore) -> None:
    """One that has found room and goes on keeps nobody from finding room meanwhile."""
    some = Examples(sql_store)
    with sql_store.transaction() as tx:
        some.ground(tx)
    far = Ceilings(FAR, FAR, FAR, FAR)
    with ThreadPoolExecutor(1) as pool, sql_store.transaction() as tx:
        assert tx.ceiling_reached(HERE, far) is None
        assert pool.submit(reached, sql_store, far).result(timeout=10) is None


def test_only_what_is_near_its_ceiling_is_waited_for(sql_store: SqlStore) -> None:
    """A nearly full task keeps another task of the same agent and target waiting for nothing."""
    some = Examples(sql_store)
    with sql_store.transaction() as tx:
        some.ground(tx)
    near = Ceilings(2, FAR, FAR, FAR)
    other = Reach("agent_1", "task_2", "orders-db")
    with ThreadPoolExecutor(1) as pool:
        with sql_store.transaction() as tx:
            assert tx.ceiling_reached(HERE, near) is None
            assert pool.submit(reached, sql_store, near, other).result(timeout=10) is None
            waiting = pool.submit(reached, sql_store, Ceilings(1, FAR, FAR, FAR))
            tx.add_lease(some.lease(1, created_at=some.now - timedelta(seconds=1)))
        assert waiting.result(timeout=10) == "task"
