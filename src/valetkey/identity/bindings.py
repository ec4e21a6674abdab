"""Which registered agent a verified workload identity is bound to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from valetkey.core.agent import AgentState
from valetkey.core.errors import UnknownAgent
from valetkey.core.trust import claims_match
from valetkey.ports import Store


@dataclass(frozen=True)
class AgentIdentity:
    """An agent as its proof finds it; `pins` are the claim values that its binding fixes."""

    agent_id: str
    name: str
    binding_id: str
    disabled: bool = False
    pins: Mapping[str, str] = field(default_factory=dict)


class Bindings(Protocol):
    """Finds the agent of a verified identity."""

    def binding_for(self, issuer: str, claims: Mapping[str, object]) -> AgentIdentity | None:
        """The agent bound to these claims of the issuer with this name; None when there is none.

        Raises UnknownAgent when the claims fit the bindings of several agents.
        """


class StoredBindings:
    """Bindings in our own database, where `Binding.issuer` is the issuer record's name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def binding_for(self, issuer: str, claims: Mapping[str, object]) -> AgentIdentity | None:
        """The agent bound to these claims; raises UnknownAgent when it could be several."""
        with self._store.transaction() as tx:
            fitting = [b for b in tx.bindings_of_issuer(issuer) if claims_match(b.claims, claims)]
            if len({binding.agent_id for binding in fitting}) > 1:
                raise UnknownAgent("several agents are bound to this identity")
            agent = tx.agent(fitting[0].agent_id) if fitting else None
        if agent is None:
            return None
        disabled = agent.state is AgentState.DISABLED
        found = fitting[0]
        return AgentIdentity(agent.id, agent.name, found.id, disabled, dict(found.claims))
