"""What policy is asked, and what it answers. Both are recorded whole, to be replayed for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from valetkey.core.agent import Agent
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.on_behalf import Person
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
    `ttl` is a duration; `approvals` counts approvals by group, computed by us. `depth` counts the
    tasks above, `delegated_by` names the agent of the next one when it is another. `person` is
    on whose behalf, as that person's own proof said.
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
    delegated_by: str | None = None
    person: Person | None = None
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


def intersection(own: Decision, above: Sequence[Decision]) -> Decision:
    """What is allowed when everybody of a chain must be allowed it.

    The first deny is the answer; approvals are needed of all groups that any of them needs, the
    time is the shortest. Every input is recorded.
    """
    if not above:
        return own
    every = (own, *above)
    recorded = {**own.recorded_input, "above": [dict(one.recorded_input) for one in above]}
    denied = next((one for one in every if one.outcome is Outcome.DENY), None)
    if denied is not None:
        return replace(denied, recorded_input=recorded)
    needs: dict[str, int] = {}
    for group, count in (need for one in every for need in one.needs):
        needs[group] = max(count, needs.get(group, 0))
    limits = [one.max_ttl for one in every if one.max_ttl is not None]
    return replace(
        own,
        outcome=Outcome.NEEDS_APPROVAL if needs else Outcome.ALLOW,
        rules=tuple(dict.fromkeys(rule for one in every for rule in one.rules)),
        recorded_input=recorded,
        needs=tuple(sorted(needs.items())),
        max_ttl=min(limits, default=None),
    )
