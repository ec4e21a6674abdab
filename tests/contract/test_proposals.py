"""What a store says of proposals, and of bindings that end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.examples import Examples
from valetkey.core.errors import StoreUnavailable
from valetkey.core.proposal import Proposal, ProposalState
from valetkey.core.scope import Scope
from valetkey.ports import Store


def example(some: Examples, number: int = 1, agent: int = 1) -> Proposal:
    """A proposal for an agent, with a parameter and an identity in it."""
    return Proposal(
        id=f"proposal_{number}",
        agent_id=f"agent_{agent}",
        owner="olivia@example.com" if agent == 1 else "otto@example.com",
        boundary=(Scope.parse("orders-db:read{region=eu}"), Scope("orders-db", "write")),
        bindings=(("cluster", (("ns", "refunds"), ("sub", 'a "bot" – 100 %'))),),
        base="b" * 64,
        rule="refunds-ci",
        created_by="https://ci job",
        created_at=some.now,
    )


@pytest.fixture
def some(store: Store) -> Examples:
    """Two agents of two owners."""
    made = Examples(store)
    with store.transaction() as tx:
        tx.add_agent(made.agent())
        tx.add_agent(made.agent(2, owner="otto@example.com"))
    return made


def test_a_proposal_comes_back_as_it_was_written(store: Store, some: Examples) -> None:
    """Whole, also with a decision on it; and under the hash that people were shown."""
    one = replace(example(some), was=(Scope("orders-db", "read"),))
    with store.transaction() as tx:
        tx.add_proposal(one)
    with store.transaction() as tx:
        assert tx.proposal(one.id) == one
        assert tx.proposal("proposal_9") is None
        found = tx.proposal(one.id, lock=True)
        assert found is not None
        assert found.shown_hash == one.shown_hash
        decided = found.decided(ProposalState.ACCEPTED, "https://people olivia", some.now)
        tx.save_proposal(decided)
    with store.transaction() as tx:
        assert tx.proposal(one.id) == decided


def test_what_an_older_version_proposed_says_not_what_it_found(
    store: Store, some: Examples
) -> None:
    """Which is another thing than finding nothing."""
    with store.transaction() as tx:
        tx.add_proposal(example(some))
        tx.add_proposal(replace(example(some, 2, agent=2), was=()))
    with store.transaction() as tx:
        assert [one.was for one in tx.proposals(None)] == [(), None]


def test_what_waits_and_what_was_refused_is_open(store: Store, some: Examples) -> None:
    """Of its own agent alone; what was accepted or overtaken is not."""
    one, by = example(some), "https://people olivia"
    with store.transaction() as tx:
        assert tx.open_proposal("agent_1") is None
        tx.add_proposal(one)
        assert tx.open_proposal("agent_1") == one
        assert tx.open_proposal("agent_2") is None
        refused = one.decided(ProposalState.REFUSED, by, some.now)
        tx.save_proposal(refused)
        assert tx.open_proposal("agent_1") == refused
        tx.save_proposal(one.decided(ProposalState.SUPERSEDED, by, some.now))
        assert tx.open_proposal("agent_1") is None
        tx.add_proposal(example(some, 2))
    with store.transaction() as tx:
        assert tx.open_proposal("agent_1") == example(some, 2)


def test_proposals_are_listed_newest_first_and_by_owner(store: Store, some: Examples) -> None:
    """An owner's are those for agents of theirs."""
    with store.transaction() as tx:
        for number, agent in ((1, 1), (2, 2)):
            tx.add_proposal(example(some, number, agent))
    with store.transaction() as tx:
        assert [one.id for one in tx.proposals(None)] == ["proposal_2", "proposal_1"]
        assert [one.id for one in tx.proposals("otto@example.com")] == ["proposal_2"]
        assert tx.proposals("eve@example.com") == []


def test_an_agent_has_one_open_proposal(store: Store, some: Examples) -> None:
    """A second one is a defect, and is not written."""
    with store.transaction() as tx:
        tx.add_proposal(example(some))
    if type(store).__name__ == "SqlStore":
        with pytest.raises(Exception, match="ix_proposals_open") as no, store.transaction() as tx:
            tx.add_proposal(example(some, 2))
        assert not isinstance(no.value, StoreUnavailable)
    with store.transaction() as tx:
        assert [one.id for one in tx.proposals(None)] == ["proposal_1"]


def test_a_binding_that_was_removed_is_free_again(store: Store, some: Examples) -> None:
    """For its own agent and others, seen in the same transaction too; twice is fine."""
    with store.transaction() as tx:
        assert tx.add_binding(some.binding())
        assert tx.add_binding(some.binding(2))
    with store.transaction() as tx:
        tx.remove_binding("binding_1")
        assert [one.id for one in tx.bindings("agent_1")] == ["binding_2"]
        tx.remove_binding("binding_1")
    with store.transaction() as tx:
        assert [one.id for one in tx.bindings_of_issuer("cluster")] == ["binding_2"]
        assert tx.add_binding(some.binding(3, agent_id="agent_2", claims=some.binding().claims))
