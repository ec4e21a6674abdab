"""What policy is asked, and what it answers. Both are recorded whole, to be replayed for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from valetkey.core.agent import Agent
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.scope import Scope


class Outcome(StrEnum):
    """The three answers policy has."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"


@dataclass(frozen=True)
class Question:
    """One decision's whole input. Free text is not part of it.

    `wanted` is the scope asked for; None asks whether a task with `task_scopes` may start.
    `ttl` is a duration; `approvals` counts approvals by group, computed by us.
    """

    agent: Agent
    ttl: timedelta
    now: datetime
    task_id: str = ""
    task_owner: str = ""
    task_scopes: tuple[Scope, ...] = ()
    wanted: CataloguedScope | None = None
    approvals: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    on_behalf_of: str | None = None
    untrusted_input: bool = False


@dataclass(frozen=True)
class Decision:
    """Policy's answer: the outcome, the rules that determined it, and under which version.

    `needs` is the smallest set of approvals that would flip a deny, as (group, count).
    `max_ttl` is the longest time the determining rules allow, None when they do not limit it.
    `problem` says why policy could not be evaluated; then the outcome is a deny.
    """

    outcome: Outcome
    rules: tuple[str, ...]
    policy_hash: str
    catalogue_digest: str
    recorded_input: Mapping[str, object]
    needs: tuple[tuple[str, int], ...] = ()
    max_ttl: timedelta | None = None
    problem: str | None = None
