"""Bindings in a store: which agent a verified identity is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.errors import TrustRuleTooWide, UnknownAgent
from valetkey.core.trust import check_binding
from valetkey.identity.bindings import StoredBindings
from valetkey.testing.memory_store import MemoryStore

AT = datetime(2026, 1, 1, tzinfo=UTC)


def store(*bound: tuple[str, str, dict[str, str]], state: AgentState) -> MemoryStore:
    """A store with agents bound as (agent, issuer, claims)."""
    made = MemoryStore()
    with made.transaction() as tx:
        for number, (name, issuer, claims) in enumerate(bound):
            if tx.agent_named(name) is None:
                agent = Agent(name, name, "o@e", "t", "", {}, (), state, "ci", None, AT)
                tx.add_agent(agent)
            pairs = tuple(sorted(claims.items()))
            tx.add_binding(Binding(f"b{number}", name, issuer, pairs, "ci", AT))
    return made


def test_the_agent_is_found_by_issuer_and_exact_claims() -> None:
    """Each of them counts."""
    bindings = StoredBindings(store(("bot", "k8s", {"sub": "a"}), state=AgentState.ACCEPTED))
    found = bindings.binding_for("k8s", {"sub": "a", "more": 1})
    assert found is not None
    assert (found.name, found.binding_id, found.disabled) == ("bot", "b0", False)
    assert bindings.binding_for("k8s", {"sub": "A"}) is None
    assert bindings.binding_for("other", {"sub": "a"}) is None


def test_a_disabled_agent_is_found_as_such() -> None:
    """So that it is told so, and gets no token."""
    bindings = StoredBindings(store(("bot", "k8s", {"sub": "a"}), state=AgentState.DISABLED))
    found = bindings.binding_for("k8s", {"sub": "a"})
    assert found is not None
    assert found.disabled


def test_an_identity_that_fits_two_agents_is_neither() -> None:
    """Which of them is meant is not ours to guess."""
    made = store(
        ("bot", "k8s", {"sub": "a"}), ("cat", "k8s", {"ns": "n"}), state=AgentState.ACCEPTED
    )
    with pytest.raises(UnknownAgent, match="several"):
        StoredBindings(made).binding_for("k8s", {"sub": "a", "ns": "n"})


def test_a_binding_without_claims_fits_nobody() -> None:
    """An empty condition is not a condition."""
    bindings = StoredBindings(store(("bot", "k8s", {}), state=AgentState.ACCEPTED))
    assert bindings.binding_for("k8s", {"sub": "a"}) is None


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": ""},
        {"sub": "repo:acme/*"},
        {"runner_environment": "github-hosted"},
        {"repository_id": "1", "repository_owner_id": "2"},
        {"environment": "production"},
    ],
    ids=str,
)
def test_a_binding_that_could_fit_several_identities_is_refused(claims: dict[str, str]) -> None:
    """Half a platform would be the agent."""
    with pytest.raises(TrustRuleTooWide):
        check_binding(claims.items())


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "system:serviceaccount:refunds:refund-bot"},
        {"repository_id": "1", "repository_owner_id": "2", "environment": "production"},
    ],
    ids=str,
)
def test_a_binding_that_pins_one_identity_is_accepted(claims: dict[str, str]) -> None:
    """By subject, or by the platform's ids and a condition."""
    check_binding(claims.items())
