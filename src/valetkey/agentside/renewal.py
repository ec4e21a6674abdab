"""A thread that keeps one credential alive by renewals while it is used."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

from valetkey.agentside.beside import Beside
from valetkey.agentside.wire import Refusal

PART = 0.5
"""Of the time until `renew_by`, after which it is renewed; a failure leaves room for others."""
SOONEST = 0.5
PASSING = frozenset({"in_progress", "rate_limited", "outcome_unknown", "minter_unavailable"})


class Renewing(Protocol):
    """What a renewal needs of the client."""

    def renew(self, lease_id: str) -> dict[str, Any]:
        """Renew once; the lease."""


class Renewals(Beside):
    """Renews until the block is left, until there is no more to be had, or until it is refused.

    The clock of this machine only says when to ask: what it is off by makes a renewal come early
    or late, never longer.
    """

    name = "renewals"

    def __init__(self, broker: Renewing, lease: dict[str, Any]) -> None:
        super().__init__()
        self._broker, self._lease = broker, lease

    def _wait(self) -> float | None:
        if not (renew_by := self._lease.get("renew_by")):
            return None
        left = datetime.fromisoformat(renew_by) - datetime.now(UTC)
        return max(SOONEST, PART * left.total_seconds())

    def _passes(self, no: Refusal) -> bool:
        return no.status >= 500 or no.code in PASSING

    def _once(self) -> None:
        self._lease = self._broker.renew(str(self._lease["id"]))
