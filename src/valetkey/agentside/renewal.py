"""A thread that keeps one credential alive by renewals while it is used."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol

from valetkey.agentside.identity import NoIdentity
from valetkey.agentside.wire import Refusal, Unreachable

PART = 0.5
"""Of the time until `renew_by`, after which it is renewed; a failure leaves room for others."""
SOONEST = 0.5
PASSING = frozenset({"in_progress", "rate_limited", "outcome_unknown", "minter_unavailable"})


class Renewing(Protocol):
    """What a renewal needs of the client."""

    def renew(self, lease_id: str) -> dict[str, Any]:
        """Renew once; the lease."""


class Renewals:
    """Renews until the block is left, until there is no more to be had, or until it is refused.

    `lost` is the code of that refusal. The clock of this machine only says when to ask: what it is
    off by makes a renewal come early or late, never longer.
    """

    def __init__(self, broker: Renewing, lease: dict[str, Any]) -> None:
        self._broker, self._lease = broker, lease
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewals", daemon=True)
        self.lost: str | None = None

    def __enter__(self) -> Renewals:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while self._lease.get("renew_by") and not self._over.wait(self._wait()):
            try:
                self._lease = self._broker.renew(str(self._lease["id"]))
            except Refusal as no:
                if no.status < 500 and no.code not in PASSING:
                    self.lost = no.code
                    return
            except (Unreachable, NoIdentity):
                continue  # the next one may get through

    def _wait(self) -> float:
        left = datetime.fromisoformat(self._lease["renew_by"]) - datetime.now(UTC)
        return max(SOONEST, PART * left.total_seconds())
