"""What minters answer with: what was made, how an end went, and what was seen outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from valetkey.core.ids import LeaseId
from valetkey.core.lease import DeniedHow, Handle
from valetkey.core.secret import Secret


@dataclass(frozen=True)
class Minted:
    """What a mint gave: how long it lives at the back end, and how the back end calls it.

    `slack` is how much longer than `lifetime` the target itself may accept it. `fenced_at` is from
    when the credential itself allows nothing, where that comes before its end.
    """

    secret: Secret
    lifetime: timedelta
    back_ref: str
    slack: timedelta = timedelta(0)
    fenced_at: datetime | None = None

    def usable(self, now: datetime) -> timedelta:
        """For how long, from now, it can be put to use."""
        if self.fenced_at is None:
            return self.lifetime
        return min(self.lifetime, self.fenced_at - now)


@dataclass(frozen=True)
class Renewed:
    """What a renewal gave: how long it lives at the back end from now on; `slack` as for Minted."""

    lifetime: timedelta
    slack: timedelta = timedelta(0)


@dataclass(frozen=True)
class Gone:
    """The back end says that it ended the credential, or that there is none."""


@dataclass(frozen=True)
class LivesUntil:
    """Nothing can cut it before this instant."""

    at: datetime


@dataclass(frozen=True)
class Denied:
    """The back end refuses it at our word from now on, though it ends only at `until`.

    `how`: the refusal was written and read back, or a witness of it was refused. Where there was
    no room to name it, everything at its place that was `made_before` is refused with it.
    """

    until: datetime
    how: DeniedHow = DeniedHow.ASSERTED
    made_before: datetime | None = None


Ending = Gone | LivesUntil | Denied


@dataclass(frozen=True)
class Lapse:
    """What is refused at a place was no longer so when we looked again, and why."""

    place: str
    why: str


class Presence(StrEnum):
    """What our own look inside the target found."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Found:
    """An object outside that carries a mark: its handle, and whose mark it is.

    `until` is when the target itself takes it no more; None where it does not tell.
    """

    handle: Handle
    installation: str
    lease_id: LeaseId
    until: datetime | None = None
