"""What a store keeps of sealed answers, and of the keys that asks named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.examples import MINUTE, Examples
from valetkey.core.lease import LeaseState
from valetkey.core.sealing import SealedAnswer, SealTo
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore

KEYS = (SealTo("EC", "P-256", "x" * 43, "y" * 43), SealTo("OKP", "X25519", "x" * 43))


@pytest.mark.parametrize("key", KEYS)
def test_a_grant_keeps_the_key_of_its_ask(store: Store, key: SealTo) -> None:
    """Whole, also when it is saved again."""
    some = Examples(store)
    with store.transaction() as tx:
        some.ground(tx)
        grant = some.grant(2, seal_to=key)
        tx.add_grant(grant)
    with store.transaction() as tx:
        assert tx.grant(grant.id) == grant
        tx.save_grant(replace(grant, generation=2))
    with store.transaction() as tx:
        assert tx.grant(grant.id) == replace(grant, generation=2)


def test_a_sealed_answer_is_kept_with_its_lease_or_not_at_all(store: Store) -> None:
    """Seen by later transactions only when that one committed; one lease has one."""
    some = Examples(store)
    answer = SealedAnswer("lease_0001", "a.b.c.d.e", some.now + MINUTE)
    with store.transaction() as tx:
        some.ground(tx)
        tx.add_lease(some.lease())
        tx.add_lease(some.lease(2))
    with pytest.raises(KeyError), store.transaction() as tx:
        tx.keep_sealed(answer)
        raise KeyError
    with store.transaction() as tx:
        assert tx.sealed("lease_0001") is None
        tx.keep_sealed(answer)
        assert tx.sealed("lease_0001") == answer
    with store.transaction() as tx:
        assert tx.sealed("lease_0001") == answer
        assert tx.sealed("lease_0002") is None


def test_what_had_its_time_or_whose_lease_is_not_active_is_forgotten(sql_store: SqlStore) -> None:
    """And nothing else is."""
    some = Examples(sql_store)
    states = [LeaseState.ACTIVE, LeaseState.ACTIVE, LeaseState.ENDING, LeaseState.STUCK]
    with sql_store.transaction() as tx:
        some.ground(tx)
        for number, state in enumerate(states, 1):
            tx.add_lease(some.lease(number, state=state))
            until = some.now + (MINUTE if number != 2 else -MINUTE)
            tx.keep_sealed(SealedAnswer(f"lease_{number:04d}", "a.b.c.d.e", until))
    assert sql_store.forget_sealed() == 3
    with sql_store.transaction() as tx:
        assert [tx.sealed(f"lease_{n:04d}") is not None for n in (1, 2, 3, 4)] == [True] + [False] * 3
