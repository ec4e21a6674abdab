"""What a store says of versions of the rules, of activations and of proposals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.contract.examples import Examples
from valetkey.core.errors import ChangedMeanwhile
from valetkey.core.proposal import ProposalState
from valetkey.core.rules import Activation, Cause, RulesProposal, RulesVersion, version_digest
from valetkey.flows.rules_in_force import Step, put_in_force
from valetkey.ports import Store
from valetkey.store.sql_store import SqlStore

FILES = {"catalogue/a.yaml": 'target: "ä ❤ {{x}} 100 % \\ \'"\n\tx', "policies/a.cedar": ""}


@pytest.fixture
def some(store: Store) -> Examples:
    """An empty store with a clock."""
    return Examples(store)


def version(some: Examples, number: int = 1, rule: str | None = "rules-ci") -> RulesVersion:
    """A version whose texts hold whatever texts may."""
    files = {**FILES, "policies/b.cedar": str(number)}
    return RulesVersion(version_digest(files), files, "c" * 64, "p" * 64, "ci job", rule, some.now)


def proposal(some: Examples, digest: str, number: int = 1, rule: str = "rules-ci") -> RulesProposal:
    """A proposal of a version."""
    return RulesProposal(f"proposal_{number}", digest, "b" * 64, rule, "ci job", some.now)


def test_a_version_comes_back_as_it_was_written_first(store: Store, some: Examples) -> None:
    """Text for text; pushed again by somebody else it stays who pushed it first."""
    one = version(some)
    with store.transaction() as tx:
        tx.add_rules_version(one)
        tx.add_rules_version(replace(one, pushed_by="somebody else"))
    with store.transaction() as tx:
        tx.add_rules_version(replace(one, pushed_by="somebody else", rule=None))
        found = tx.rules_version(one.digest)
        assert found == one
        assert found is not None
        assert version_digest(found.files) == one.digest
        assert tx.rules_version("0" * 64) is None


def test_the_newest_activation_comes_first(store: Store, some: Examples) -> None:
    """With everything that it was written with; the list may be cut short."""
    one, two = version(some), version(some, 2, rule=None)
    first = Activation(1, one.digest, Cause.BEGUN, "opal", some.now, "the first")
    second = Activation(2, two.digest, Cause.APPLIED, "ci job", some.now)
    back = Activation(3, one.digest, Cause.ROLLED_BACK, "opal", some.now, 'a "reason"')
    with store.transaction() as tx:
        assert tx.activations(1) == []
        for kept in (one, two):
            tx.add_rules_version(kept)
        for activation in (first, second, back):
            tx.add_activation(activation)
    with store.transaction() as tx:
        assert list(tx.activations(10)) == [back, second, first]
        assert list(tx.activations(1)) == [back]


def test_a_proposal_of_rules_comes_back_and_is_open_until_decided(
    store: Store, some: Examples
) -> None:
    """Of its own trust rule alone; a refused one is open still."""
    one = version(some)
    mine, other = proposal(some, one.digest), proposal(some, one.digest, 2, "other-ci")
    with store.transaction() as tx:
        tx.hold_rules()
        tx.add_rules_version(one)
        tx.add_rules_proposal(mine)
        tx.add_rules_proposal(other)
    with store.transaction() as tx:
        assert tx.rules_proposal(mine.id) == mine
        assert tx.open_rules_proposal("rules-ci") == mine
        assert list(tx.rules_proposals()) == [other, mine]
        refused = mine.decided(ProposalState.REFUSED, "opal", some.now)
        tx.save_rules_proposal(refused)
    with store.transaction() as tx:
        assert tx.open_rules_proposal("rules-ci") == refused
        tx.save_rules_proposal(refused.decided(ProposalState.ACCEPTED, "opal", some.now))
    with store.transaction() as tx:
        assert tx.open_rules_proposal("rules-ci") is None
        assert tx.rules_proposal("proposal_9") is None


def test_only_a_version_that_nothing_needs_is_forgotten(store: Store, some: Examples) -> None:
    """Not one that was in force, nor one that an open proposal names."""
    used, asked, gone = version(some), version(some, 2), version(some, 3)
    with store.transaction() as tx:
        for one in (used, asked, gone):
            tx.add_rules_version(one)
        tx.add_activation(Activation(1, used.digest, Cause.BEGUN, "opal", some.now))
        tx.add_rules_proposal(proposal(some, asked.digest))
    with store.transaction() as tx:
        for one in (used, asked, gone):
            tx.forget_rules_version(one.digest)
    with store.transaction() as tx:
        kept = [bool(tx.rules_version(one.digest)) for one in (used, asked, gone)]
        assert kept == [True, True, False]


def test_live_leases_are_counted_by_scope(store: Store, some: Examples) -> None:
    """Of the targets that were named, without what has ended."""
    with store.transaction() as tx:
        tx.add_agent(some.agent())
        tx.add_task(some.task())
        tx.add_grant(some.grant())
        tx.add_lease(some.lease())
    with store.transaction() as tx:
        assert dict(tx.live_at(["orders-db"])) == {"orders-db:read": 1}
        assert dict(tx.live_at(["other"])) == {}
        assert dict(tx.live_at([])) == {}


def test_two_who_put_rules_in_force_at_once_are_told_apart(
    sql_store: SqlStore,
) -> None:
    """One comes first; the other is told that something changed meanwhile."""
    some = Examples(sql_store)

    def put(number: int) -> int:
        step = Step(version(some, number), Cause.APPLIED, "ci job")
        try:
            with sql_store.transaction() as tx:
                tx.hold_rules()
                return put_in_force(tx, step, 0).number
        except ChangedMeanwhile:
            return 0

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(put, range(8))) == [0] * 7 + [1]
    with sql_store.transaction() as tx:
        assert len(tx.activations(10)) == 1
