"""Cuts: what a place outside is told to refuse, kept as one list under one generation.

Some back ends cannot end what they gave; they can only be told, at one place, to refuse it until
it ends by itself. That list is written whole each time, from our record, so that whoever writes
needs to know nothing of what stood there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from valetkey.core.lease import Lease

SKEW = timedelta(seconds=5)
"""By how much a back end's clock may differ from ours; more makes a replica unready."""
PRUNED_AGAIN = timedelta(minutes=1)
"""A list is not written anew more often than that only because something in it has ended."""


@dataclass(frozen=True)
class Cut:
    """What is refused at a place: each of these leases, and all that was made before an instant.

    `made_before` is None unless there was once no room to name every lease. `until` is when the
    last of them will have ended by itself, `prune_at` when the list is worth shortening.
    """

    place: str
    generation: int = 0
    lease_ids: tuple[str, ...] = ()
    made_before: datetime | None = None
    until: datetime | None = None
    prune_at: datetime | None = None

    @property
    def empty(self) -> bool:
        """True when nothing needs to be refused there."""
        return not self.lease_ids and self.made_before is None

    def covers_all(self, other: Cut) -> bool:
        """Whether it refuses at least what another list does."""
        before, others = self.made_before, other.made_before
        whole = others is None or (before is not None and before >= others)
        return whole and set(other.lease_ids) <= set(self.lease_ids)

    def covers(self, lease: Lease) -> bool:
        """Whether it refuses this lease's credential, whenever that was made."""
        return lease.id in self.lease_ids or self._made_before(lease)

    def _made_before(self, lease: Lease) -> bool:
        """Surely made, by the back end's clock, before what is refused as a whole.

        What was never handed out may have been made until its second tap.
        """
        if self.made_before is None:
            return False
        made_by = lease.second_tap_at if lease.activated_at is None else lease.activated_at
        return made_by + SKEW <= self.made_before


def needs_cut(lease: Lease, now: datetime) -> bool:
    """Whether only a cut keeps its credential from working: it lives, and is not fenced yet."""
    if lease.backend_expires_at <= now:
        return False
    return lease.fenced_at is None or lease.fenced_at > now


def recut(earlier: Cut, leases: Iterable[Lease], slots: int, now: datetime) -> Cut:
    """The next list for a place, from every lease there whose end has been asked for.

    What was refused stays refused until its own end. With more than `slots` to be named, all that
    was made up to now is refused, whoever holds it. What was never handed out, so that nobody
    holds it, gets half the room at most: asking for what fails must not cut what others hold.
    Whatever the list does not `cover` is not refused, and must be tried again.
    """
    named = set(earlier.lease_ids)
    unended = [x for x in leases if x.backend_expires_at > now]
    wanted = [x for x in unended if needs_cut(x, now) or x.id in named or earlier.covers(x)]
    before = earlier.made_before if earlier.until is not None and earlier.until > now else None
    wide = Cut(earlier.place, made_before=before)
    if len(_named(wanted, wide, earlier, slots)) > slots:
        whole = (now + SKEW).replace(microsecond=0) + timedelta(seconds=1)
        wide = Cut(earlier.place, made_before=whole)
    rest = _named(wanted, wide, earlier, slots)[:slots]
    ends = [x.backend_expires_at for x in wanted]
    until = max([*ends, *_still(earlier, wide, now)], default=None)
    first = min(ends, default=until)
    return Cut(
        place=earlier.place,
        generation=earlier.generation + 1,
        lease_ids=tuple(sorted(x.id for x in rest)),
        made_before=wide.made_before,
        until=until,
        prune_at=None if first is None else max(first, now + PRUNED_AGAIN),
    )


def _named(wanted: Sequence[Lease], wide: Cut, earlier: Cut, slots: int) -> list[Lease]:
    """Whom a list must name beside what is refused as a whole; first what somebody may hold."""
    rest = [x for x in wanted if not wide.covers(x)]
    held = [x for x in rest if x.activated_at is not None]
    unheld = [x for x in rest if x.activated_at is None]
    unheld.sort(key=lambda x: (x.id not in earlier.lease_ids, x.id))
    return held + unheld[: slots // 2]


def _still(earlier: Cut, wide: Cut, now: datetime) -> list[datetime]:
    """How long a refusal of all that was made before must stand at least."""
    kept = wide.made_before is not None and wide.made_before == earlier.made_before
    return [earlier.until] if kept and earlier.until is not None else []
