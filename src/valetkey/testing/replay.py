"""MemoryUses: once-only use as a dictionary, and FixedBindings: agents by their claims."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from valetkey.core.trust import claims_match
from valetkey.identity.bindings import AgentIdentity, ClientKey


class MemoryUses:
    """What has been used; share one between several authenticators to have several replicas."""

    def __init__(self) -> None:
        self._pinned: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._one_at_a_time = threading.Lock()
        self.revoked: set[str] = set()

    def first_use(self, slot: str, key: str, until: datetime, unless: str = "") -> bool:
        """True the first time."""
        with self._one_at_a_time:
            if unless in self.revoked:
                return False
            known = (slot, key) in self._pinned
            self._pinned[slot, key] = ("", until)
            return not known

    def pin(self, key: str, jkt: str, until: datetime) -> str:
        """The thumbprint first pinned."""
        with self._one_at_a_time:
            return self._pinned.setdefault(("pin", key), (jkt, until))[0]

    def is_revoked(self, token_id: str) -> bool:
        """Whether a token is among `revoked`."""
        return token_id in self.revoked

    def kept_until(self) -> list[datetime]:
        """Until when each use is remembered."""
        return [until for _, until in self._pinned.values()]


@dataclass
class FixedBindings:
    """Bindings as a list of issuer name, claims and agent."""

    listed: list[tuple[str, Mapping[str, str], AgentIdentity]] = field(default_factory=list)
    keys: list[ClientKey] = field(default_factory=list)

    def client_keys(self, client_id: str) -> Sequence[ClientKey]:
        """The keys listed for the agent with this id or name."""
        return [key for key in self.keys if client_id in (key.identity.agent_id, key.identity.name)]

    def binding_for(self, issuer: str, claims: Mapping[str, object]) -> AgentIdentity | None:
        """The first agent whose binding fits."""
        for name, wanted, agent in self.listed:
            if name == issuer and claims_match(wanted.items(), claims):
                return replace(agent, pins=dict(wanted))
        return None


@dataclass
class VariableTime:
    """The database's time as a variable, beginning now."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """The time."""
        return self.at
