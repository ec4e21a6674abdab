"""Cuts as both stores keep them: one generation after another, and looked at by one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Protocol

import pytest

from tests.contract.examples import MINUTE, Examples
from valetkey.core.cut import Cut
from valetkey.core.lease import DeniedHow, Handle, LeaseState, Patience, Proof
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore
from valetkey.testing.memory_cuts import MemoryCuts
from valetkey.testing.memory_store import MemoryStore

ROLE = Handle("aws-sts", "exports", "vk-1", {"place": "arn:role"})
PLACE = "aws-sts arn:role"
PATIENCE = Patience()
NEVER, ALWAYS = timedelta(hours=1), timedelta(0)


class Book(Protocol):
    """What a minter that cuts needs of a store."""

    def cut(self, place: str) -> Cut: ...
    def next_cut(self, place: str, slots: int) -> Cut: ...
    def cuts_to_look_at(self, minter: str, every: timedelta) -> Sequence[Cut]: ...


def book_of(store: Store) -> Book:
    """The store itself, or what stands beside the one in memory."""
    if isinstance(store, MemoryStore):
        return MemoryCuts(store)
    assert isinstance(store, SqlStore)
    return store


@pytest.fixture
def some(store: Store) -> Examples:
    """Three leases at one place: ending, stuck and active; and one ending elsewhere."""
    some = Examples(store)
    with store.transaction() as tx:
        some.ground(tx)
        tx.add_lease(some.due(1, handle=ROLE))
        tx.add_lease(some.due(2, handle=ROLE).failed("x", some.now + 60 * MINUTE, PATIENCE, 0.5))
        tx.add_lease(some.lease(3, handle=ROLE))
        tx.add_lease(some.due(4))
    return some


def test_a_cut_names_what_is_ending_or_stuck_at_its_place(store: Store, some: Examples) -> None:
    """Under the next generation, which is what is read from then on."""
    book = book_of(store)
    assert book.cut(PLACE) == Cut(PLACE)
    first = book.next_cut(PLACE, 10)
    assert (first.generation, first.lease_ids) == (1, ("lease_0001", "lease_0002"))
    assert book.cut(PLACE) == first
    second = book.next_cut(PLACE, 1)
    assert second.generation == 2
    assert second.lease_ids == ()
    assert second.made_before is not None
    assert book.cut(PLACE) == second


def test_one_replica_looks_in_a_tick_and_only_where_something_is_refused(
    store: Store, some: Examples
) -> None:
    """The rest costs one statement that finds nothing."""
    book = book_of(store)
    assert list(book.cuts_to_look_at("aws-sts", ALWAYS)) == []
    made = book.next_cut(PLACE, 10)
    assert list(book.cuts_to_look_at("aws", ALWAYS)) == []
    assert list(book.cuts_to_look_at("aws-sts", ALWAYS)) == [made]
    assert list(book.cuts_to_look_at("aws-sts", NEVER)) == []
    with store.transaction() as tx:
        for number in (1, 2):
            lease = tx.lease(f"lease_{number:04d}")
            assert lease is not None
            tx.save_lease(lease.waits_for_expiry(some.now))
    assert not book.next_cut(PLACE, 10).empty


def test_what_has_not_ended_at_a_place_is_found(store: Store, some: Examples) -> None:
    """Those of other places and those that are over are not."""
    with store.transaction() as tx:
        assert [x.id[-1] for x in tx.unended_at(PLACE)] == ["1", "2", "3"]
        lease = tx.lease("lease_0002", lock=True)
        assert lease is not None
        tx.save_lease(lease.ended(Proof.EXPIRED, some.now))
    with store.transaction() as tx:
        assert [x.id[-1] for x in tx.unended_at(PLACE)] == ["1", "3"]


def test_how_a_lease_is_denied_is_kept_with_its_place(store: Store, some: Examples) -> None:
    """What is written is read back."""
    with store.transaction() as tx:
        lease = tx.lease("lease_0001", lock=True)
        assert lease is not None
        tx.save_lease(lease.denied(some.now + MINUTE, DeniedHow.WITNESSED, some.now))
    with store.transaction() as tx:
        again = tx.lease("lease_0001")
    assert again is not None
    assert (again.denied_at, again.denied_how) == (some.now, DeniedHow.WITNESSED)
    assert (again.place, again.state) == (PLACE, LeaseState.ENDING)


def test_writers_at_once_get_generations_of_their_own(sql_store: SqlStore) -> None:
    """None is given twice, and the newest is what is read."""
    with ThreadPoolExecutor(8) as pool:
        cuts = list(pool.map(lambda _: sql_store.next_cut(PLACE, 10), range(24)))
    assert sorted(cut.generation for cut in cuts) == list(range(1, 25))
    assert sql_store.cut(PLACE).generation == 24
