"""The kill switch: a stop at some height of the authority tree, in force until released."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from valetkey.core.errors import Killed


class Height(StrEnum):
    """How much a kill stops."""

    LEASE = "lease"
    TASK = "task"
    AGENT = "agent"
    TARGET = "target"
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Kill:
    """One stop. `subject` is the id or name at that height, empty for everything."""

    id: str
    height: Height
    subject: str
    reason: str
    by: str
    at: datetime
    released_at: datetime | None = None
    released_by: str | None = None


@dataclass(frozen=True)
class Reach:
    """What a piece of authority is part of, so that kills can be held against it."""

    agent_id: str | None = None
    task_id: str | None = None
    target: str | None = None
    lease_id: str | None = None


def stops(kill: Kill, reach: Reach) -> bool:
    """True when the kill covers this piece of authority."""
    match kill.height:
        case Height.EVERYTHING:
            return True
        case Height.AGENT:
            return kill.subject == reach.agent_id
        case Height.TASK:
            return kill.subject == reach.task_id
        case Height.TARGET:
            return kill.subject == reach.target
        case Height.LEASE:
            return kill.subject == reach.lease_id


def refuse_if_killed(kills: Iterable[Kill], reach: Reach) -> None:
    """Raise Killed when any kill in force covers the reach."""
    if any(stops(kill, reach) for kill in kills):
        raise Killed()
