"""What must always hold (reliability reference, section 8), and how each breach is told.

`docs/operations.md` explains each. Those in ELSEWHERE cannot be read from the database and the
back ends; they are proven by the tests named there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Rule(StrEnum):
    """One thing that a reading of our own records can find broken."""

    PAST_END = "past_end"
    TWO_LIVE = "two_live"
    IN_ENDED_TASK = "in_ended_task"
    BORN_LATE = "born_late"
    UNDER_KILL = "under_kill"
    ACTIVATED_UNDER_KILL = "activated_under_kill"
    UNTOLD = "untold"
    FACT_OF_NOTHING = "fact_of_nothing"
    FENCE_BACK = "fence_back"
    FORGOTTEN = "forgotten"
    WIDER = "wider"
    DENIED = "denied"
    OVERLONG = "overlong"
    UNCOUNTED = "uncounted"
    GIVEN_UP_BY_NOBODY = "given_up_by_nobody"


TOLD: Mapping[Rule, tuple[str, str]] = {
    Rule.PAST_END: ("I2", "is active past its end"),
    Rule.TWO_LIVE: ("I6", "has more than one live lease"),
    Rule.IN_ENDED_TASK: ("I7", "lives although its task has ended"),
    Rule.BORN_LATE: ("I7", "was made after its task had ended"),
    Rule.UNDER_KILL: ("I8", "lives under a kill in force"),
    Rule.ACTIVATED_UNDER_KILL: ("I8", "became active under a kill in force"),
    Rule.UNTOLD: ("I9", "history does not tell its present state"),
    Rule.FACT_OF_NOTHING: ("I9", "history tells of it, and there is no such lease"),
    Rule.FENCE_BACK: ("I11", "its fence went back"),
    Rule.FORGOTTEN: ("I12", "will not be looked at in time"),
    Rule.WIDER: ("I13", "its scope is not within its task's"),
    Rule.DENIED: ("I13", "was issued on a decision that denied it"),
    Rule.OVERLONG: ("I18", "would be acted on after its end at the back end"),
    Rule.UNCOUNTED: ("I19", "has not as many leases as history tells were written"),
    Rule.GIVEN_UP_BY_NOBODY: ("I20", "was written off without a name or a reason"),
}

_NUMBERS = (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 17, 18, 19, 20)
CHECKED = tuple(f"I{number}" for number in _NUMBERS)

ELSEWHERE: Mapping[str, str] = {
    "I5": "a secret leaves only after its lease is active: tests/faults, tests/simulation",
    "I10": "sealed history never changes: history is not sealed yet",
    "I14": "no secret at rest or in any text: tests/acceptance/test_canary.py",
    "I15": "a replica may die at any instant: tests/faults, tests/fleet",
    "I16": "calls in flight stay below their bounds: metrics, tests/faults",
}


@dataclass(frozen=True)
class Violation:
    """One broken invariant, and what breaks it: mostly a lease's id."""

    invariant: str
    about: str
    detail: str


@dataclass(frozen=True)
class Terms:
    """By when things must have been done.

    What was due before `late` has waited too long; what ends is looked at again by `latest`.
    Ended leases, kills and facts are looked at back to `since`. At most `limit` of each are told.
    """

    late: datetime
    latest: datetime
    since: datetime
    limit: int = 1000


def violation(rule: Rule, about: str) -> Violation:
    """A breach of this rule by what is named."""
    invariant, detail = TOLD[rule]
    return Violation(invariant, about, detail)
