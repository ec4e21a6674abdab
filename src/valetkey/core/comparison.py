"""What our records and the outside are held against each other by, without any asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from valetkey.core.lease import LeaseState


@dataclass(frozen=True)
class Known:
    """What a comparison needs of a lease: its object's name, and how it stands."""

    lease_id: str
    target: str
    name: str
    state: LeaseState
    backend_expires_at: datetime


@dataclass
class Comparison:
    """What one comparison of a minter found; lists of lease ids, or names where there is no lease.

    `odd` is out there and should not be, `missing` is not and should be; what was done about them
    is in `unknown`, `reappeared` and `vanished`. `foreign` are objects of other installations,
    `other_epochs` of another epoch of ours, which no lease knows. `held` says why nothing was done
    about a target's difference, `problems` why a target or a witness could not be looked at.
    `unlooked` are targets with live leases that nobody looks at.
    """

    seen: int = 0
    odd: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    other_epochs: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    reappeared: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    unlooked: list[str] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Something here is for a human to see to."""
        return bool(self.held or self.problems or self.foreign or self.other_epochs)


@dataclass(frozen=True)
class Difference:
    """Counts at one target: objects that should not be, leases without one, leases that live."""

    odd: int
    missing: int
    live: int


@dataclass(frozen=True)
class Order:
    """A named operator's word, with a reason, to act on what was held.

    With an `epoch` it is about the objects of that epoch of ours that no lease knows, and only
    them: they are adopted and ended.
    """

    by: str
    reason: str
    epoch: int | None = None

    @property
    def act(self) -> bool:
        """It is about what was held."""
        return self.epoch is None


def suspicious(difference: Difference, floor: int, share: float) -> str | None:
    """Why this difference waits for a human: it is as large as a restored backup makes it.

    Small ones, up to `floor`, never do, nor those below `share` of what lives.
    """
    odd, missing, live = difference.odd, difference.missing, difference.live
    if odd + missing <= floor or odd + missing <= share * max(live, 1):
        return None
    return f"{odd} unknown and {missing} missing of {live}: was a backup restored?"


def held_targets(
    differences: Mapping[str, Difference], floor: int, share: float
) -> dict[str, str]:
    """The targets that wait for a human, and why: each alone, and all when their sum does."""
    total = suspicious(added(differences.values()), floor, share)
    if total is not None:
        return dict.fromkeys(differences, total)
    each = {name: suspicious(one, floor, share) for name, one in differences.items()}
    return {name: why for name, why in each.items() if why is not None}


def added(differences: Iterable[Difference]) -> Difference:
    """All of them as one."""
    each = list(differences)
    return Difference(
        sum(x.odd for x in each), sum(x.missing for x in each), sum(x.live for x in each)
    )


def epoch_of(installation: str) -> int:
    """The epoch of a name like `abcdefe1`."""
    return int(installation.rpartition("e")[2])


def same_installation(one: str, other: str) -> bool:
    """Whether two names like `abcdefe1` differ in nothing but their epoch."""
    return one.rpartition("e")[0] == other.rpartition("e")[0]
