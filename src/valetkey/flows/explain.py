"""Explain: the decision `request` would give now, minting and writing nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.ask import Ask, GrantedTtl
from valetkey.core.decision import Decision
from valetkey.core.principal import Caller
from valetkey.flows.nearest import Nearest
from valetkey.flows.recording import refusals_about
from valetkey.flows.request_credential import within_token
from valetkey.flows.weigh import open_task, weigh
from valetkey.ports import Broker


@dataclass(frozen=True)
class Explanation:
    """A decision, and the time that would be granted; `life` with all renewals, if any.

    `nearest` is what could be had instead of what was denied, if anything was found. `sealed` says
    that it is given only to asks that name a key to seal to.
    """

    decision: Decision
    ttl: GrantedTtl
    life: timedelta | None = None
    nearest: Nearest | None = None
    sealed: bool = False


def explain(broker: Broker, caller: Caller, ask: Ask) -> Explanation:
    """What `request_credential` would decide; raises what it would raise before deciding."""
    with refusals_about(ask.task_id), broker.store.transaction() as tx:
        within_token(caller, ask)
        standing = open_task(tx, caller, ask.task_id, str(ask.scope))
        weighed = weigh(broker, tx, standing, ask)
    sealed = weighed.wanted.definition.sealed is not None
    return Explanation(weighed.decision, weighed.ttl, weighed.life, weighed.nearest, sealed)
