"""The desk: what every endpoint works with, reached from the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from valetkey.core.principal import Caller
from valetkey.core.trust import TrustRule
from valetkey.ports import Broker
from valetkey.web.doors import Doors
from valetkey.web.knocks import Knocks
from valetkey.web.metrics import Metrics
from valetkey.web.proofs import Authenticator


@dataclass(frozen=True)
class Desk:
    """Everything behind the endpoints, in one frozen bundle."""

    broker: Broker
    authenticator: Authenticator
    doors: Doors
    metrics: Metrics
    knocks: Knocks
    room: CapacityLimiter

    def rule_of(self, caller: Caller) -> TrustRule | None:
        """The trust rule that let a CI job in; None for people and agents."""
        return self.doors.trust_rules.get(caller.rule) if caller.rule else None


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


At = Annotated[Desk, Depends(_desk)]
