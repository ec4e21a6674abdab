"""The kill switch: a stop at some height of the authority tree, in force until released."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from valetkey.core.errors import BrokerError, Killed
from valetkey.core.scope import Scope
from valetkey.core.words import is_known

VENDOR: Final = "vendor"
"""The agents' label that a kill of a vendor looks at."""


class Height(StrEnum):
    """How much a kill stops."""

    LEASE = "lease"
    TASK = "task"
    AGENT = "agent"
    OWNER = "owner"
    PERSON = "person"
    VENDOR = "vendor"
    ISSUER = "issuer"
    SCOPE = "scope"
    TARGET = "target"
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Kill:
    """One stop. `subject` is the id or name at that height, empty for everything.

    For an owner it is the e-mail address; for a person, of whom all stops that is done on their
    behalf, that address in small letters or issuer and subject as one text; for a vendor the value
    of the agents' label `vendor`, for an issuer the name of its record, for a scope its text.
    """

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
    """What a piece of authority is part of, so that kills can be held against it.

    `issuer` names the record of the issuer whose proof the task was started with. `person` is the
    principal on whose behalf it is, as one text, and `person_email` the address.
    """

    agent_id: str | None = None
    task_id: str | None = None
    target: str | None = None
    lease_id: str | None = None
    owner: str | None = None
    vendor: str | None = None
    issuer: str | None = None
    scope: str | None = None
    person: str | None = None
    person_email: str | None = None


def stops(kill: Kill, reach: Reach) -> bool:
    """True when the kill covers this piece of authority; an unknown part is never matched.

    Nor is anything by a kill of a height that only a newer version knows: nothing ends by it here.
    """
    if kill.height is Height.EVERYTHING:
        return True
    if kill.height is Height.SCOPE:
        return _within(reach.scope, kill.subject)
    if kill.height is Height.PERSON:
        return kill.subject in (reach.person, reach.person_email)
    part = {
        Height.LEASE: reach.lease_id,
        Height.TASK: reach.task_id,
        Height.AGENT: reach.agent_id,
        Height.OWNER: reach.owner,
        Height.VENDOR: reach.vendor,
        Height.ISSUER: reach.issuer,
        Height.TARGET: reach.target,
    }.get(kill.height)
    return kill.subject == part


def may_stop(kill: Kill, reach: Reach) -> bool:
    """True unless the kill surely leaves this alone: nothing new is given under what it is not.

    A kill of a height that only a newer version knows may cover anything.
    """
    return stops(kill, reach) or not is_known(kill.height)


def refuse_if_killed(kills: Iterable[Kill], reach: Reach) -> None:
    """Raise Killed when any kill in force covers the reach."""
    if any(may_stop(kill, reach) for kill in kills):
        raise Killed()


def _within(scope: str | None, killed: str) -> bool:
    """No wider than what was killed; a text that is no scope (an adopted object) never is."""
    try:
        return Scope.parse(scope) <= Scope.parse(killed)
    except BrokerError:
        return False
