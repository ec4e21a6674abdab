"""Which registered agent a verified workload identity is bound to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.client_key import CLIENT_KEY
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


@dataclass(frozen=True)
class ClientKey:
    """A public key (JWK) that an agent proves itself with."""

    identity: AgentIdentity
    jwk: Mapping[str, str]


class Bindings(Protocol):
    """Finds the agent of a verified identity."""

    def client_keys(self, client_id: str) -> Sequence[ClientKey]:
        """The keys bound to the agent with this id or name; none when there is no such agent."""

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
        return _identity(agent, fitting[0]) if agent else None

    def client_keys(self, client_id: str) -> Sequence[ClientKey]:
        """The keys bound to an agent."""
        with self._store.transaction() as tx:
            agent = tx.agent(client_id) or tx.agent_named(client_id)
            bound = tx.bindings(agent.id) if agent else ()
        keys = [binding for binding in bound if binding.issuer == CLIENT_KEY]
        return [ClientKey(_identity(agent, key), dict(key.claims)) for key in keys if agent]


def _identity(agent: Agent, by: Binding) -> AgentIdentity:
    disabled = agent.state is AgentState.DISABLED
    return AgentIdentity(agent.id, agent.name, by.id, disabled, dict(by.claims))
