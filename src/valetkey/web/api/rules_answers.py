"""What `/v1/rules` answers: versions, activations, proposals, plans."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from valetkey.web.api.answers import Answer


class RulesActivation(Answer):
    """A version that came into force."""

    number: int
    version: str
    cause: str
    by: str
    at: datetime
    reason: str


class RulesProposed(Answer):
    """A version that waits for an operator, or was decided by one.

    `base` is what it would replace; `current` is false when that is no longer in force, so that
    the next push proposes anew.
    """

    id: str
    version: str
    base: str
    rule: str
    state: Literal["waiting", "refused", "accepted", "superseded"]
    current: bool
    created_by: str
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    shown_hash: str
    fresh_for: str | None


class RulesList(Answer):
    """What is in force and was, newest first; `serves` is the number in force at this replica."""

    version: str | None
    serves: int | None
    activations: list[RulesActivation]
    proposals: list[RulesProposed]


class RulesVersionShown(Answer):
    """One version, whole; `fresh_for` is what a login to go back to it must be made for."""

    version: str
    files: dict[str, str]
    catalogue_digest: str
    policy_hash: str
    pushed_by: str
    rule: str | None
    pushed_at: datetime
    fresh_for: str | None


class RulesChange(Answer):
    """One difference: a target, a scope or a policy."""

    what: Literal["added", "changed", "removed"]
    part: str


class RulesObstacle(Answer):
    """A target that keeps a version from coming into force, and why."""

    target: str
    why: str


class LeasesLosingScope(Answer):
    """How many leases live of a scope that would be gone; they end as they would have."""

    scope: str
    leases: int


class RulesVerdict(Answer):
    """Recorded asks that would be answered otherwise."""

    ask: str
    was: str
    becomes: str
    count: int


class RulesPlanned(Answer):
    """What a push would change; nothing has. `digest` is for `If-Match`."""

    digest: str
    version: str
    waits: bool
    changes: list[RulesChange]
    unproven: list[RulesObstacle]
    leases_losing_scope: list[LeasesLosingScope]
    replayed: int
    verdicts: list[RulesVerdict]
    proposal: str | None
    refused: bool


class RulesPushed(Answer):
    """What came of a push; neither activation nor proposal: there was nothing to do."""

    version: str
    activation: RulesActivation | None
    proposal: str | None
    refused: bool
