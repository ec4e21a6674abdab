"""Early cuts at AWS: a session cannot be ended, but its role can be told to refuse it.

The list is rebuilt whole from Postgres under the next generation, written, and read back. There
is no compare-and-set, so a writer that finds another's work there looks which is newer: with an
older one there it writes again, with a newer one it looks whether that will do. Until the last
session's own end the list is looked at again every tick, by one replica.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from valetkey.core.cut import Cut, needs_cut
from valetkey.core.errors import BrokerError, MinterRefused, MinterUnavailable, NotAsked
from valetkey.core.ids import LeaseId, Mark
from valetkey.core.lease import DeniedHow, Handle, Lease
from valetkey.core.session_policies import compact
from valetkey.minters.aws_policy import Written, cut_document, refuse_foreign
from valetkey.minters.aws_roles import RoleIsFull, Roles
from valetkey.minters.aws_witness import Witness, Witnesses
from valetkey.ports import Denied, Ending, Lapse, LivesUntil

NAME = "aws-sts"
AGAIN = timedelta(seconds=1)
WRITES = 4
READS = 6
PAUSE = 0.25
SLOTS = 150


class CutBook(Protocol):
    """Where the generations are kept: Postgres."""

    def cut(self, place: str) -> Cut:
        """The newest generation at a place."""

    def next_cut(self, place: str, slots: int) -> Cut:
        """The next there, from every lease whose end was asked for; its own commit."""

    def cuts_to_look_at(self, minter: str, every: timedelta) -> Sequence[Cut]:
        """Where something is refused and no replica looked for so long; its own commit."""


@dataclass(frozen=True)
class Known:
    """What a cut needs to know from outside AWS: our record and the time."""

    book: CutBook
    lease: Callable[[LeaseId], Lease | None]
    now: Callable[[], datetime]
    wait: Callable[[float], None]


@dataclass(frozen=True)
class Standing:
    """The generation that we saw in force at a role, and how we know."""

    generation: int
    how: DeniedHow


@dataclass
class Cutter:
    """Writes, reads back and looks again; one writer for each role in this process."""

    roles: Roles
    witnesses: Witnesses
    known: Known
    installation: str
    _locks: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    _standing: dict[str, Standing] = field(default_factory=dict)
    _slots: dict[str, str] = field(default_factory=dict)

    def deny(self, handle: Handle, until: datetime) -> Ending:
        """Have a lease's session refused; many at once share one write.

        Raises MinterUnavailable, where there was no room NotAsked, and MinterRefused.
        """
        place, now = handle.place or "", self.known.now()
        mark = Mark.read(handle.name)
        lease = self.known.lease(mark.lease_id) if mark else None
        if lease is None:
            raise MinterRefused("no lease is known for this session")
        if until <= now or not needs_cut(lease, now):
            return LivesUntil(until)
        self._slots[place] = handle.where.get("slots", str(SLOTS))
        with self._locks[place]:
            cut = self.known.book.cut(place)
            standing = self._standing.get(place)
            if not cut.covers(lease) or standing is None or standing.generation != cut.generation:
                cut, standing = self._written(handle)
        if not cut.covers(lease):
            raise NotAsked("the role has no room to refuse it", retry_after=5)
        wide = None if lease.id in cut.lease_ids else cut.made_before
        return Denied(until, standing.how, wide)

    def pausing(self, handle: Handle) -> bool:
        """Whether what is made there now would be refused, because all before a moment to come is.

        One look into Postgres.
        """
        before = self.known.book.cut(handle.place or "").made_before
        return before is not None and self.known.now() < before + timedelta(seconds=5)

    def look(self, *, renew: bool) -> list[Lapse]:
        """Look at every list that nobody looked at for a tick; what lapsed is written again.

        Raises the last of what kept us from looking, when all have been tried.
        """
        lapses, trouble = [], None
        every = AGAIN if renew else timedelta(0)
        for cut in self.known.book.cuts_to_look_at(NAME, every):
            try:
                lapses += self._look(cut, renew)
            except BrokerError as problem:
                trouble = problem
        if trouble is not None:
            raise trouble
        return lapses

    def _look(self, cut: Cut, renew: bool) -> list[Lapse]:
        """Only what differs from the newest generation for a while has lapsed."""
        role, slots = _role(cut.place), self._slots.get(cut.place, str(SLOTS))
        place = Handle(NAME, "", "", {"place": role, "slots": slots})
        why = self._differs(role, cut)
        if why is None:
            if renew and cut.prune_at is not None and cut.prune_at <= self.known.now():
                with self._locks[cut.place]:
                    self._written(place)
            return []
        if self.known.book.cut(cut.place).generation != cut.generation:
            return []  # somebody is writing the next
        if renew:
            with self._locks[cut.place]:
                self._standing.pop(cut.place, None)
                self._written(place)
        return [Lapse(cut.place, why)]

    def _written(self, handle: Handle) -> tuple[Cut, Standing]:
        """Write the next generation until the newest there is stands there. Under the role's lock.

        Its row is committed before the role is told, and remembers its witness.
        """
        place, slots = handle.place or "", int(handle.where.get("slots", SLOTS))
        for _ in range(WRITES):
            cut = self.known.book.next_cut(place, slots)
            witness = self.witnesses.called(handle, cut.generation)
            try:
                self._tell(_role(place), cut)
            except RoleIsFull:
                slots = 0
                continue
            newest = self._newest_standing(place, cut)
            if newest is not None:
                standing = Standing(newest.generation, self._how(witness, newest, cut))
                self._standing[place] = standing
                return newest, standing
        raise MinterUnavailable("others are writing what the role refuses", retry_after=2)

    def _tell(self, role: str, cut: Cut) -> None:
        refuse_foreign(self.roles.read(role), self.installation)
        if cut.empty:
            self.roles.forget(role)
        else:
            self.roles.write(role, compact(cut_document(self.installation, cut)))

    def _newest_standing(self, place: str, cut: Cut) -> Cut | None:
        """The newest generation, when that stands there; None when we must write once more.

        What is read may be older than what was written: IAM is eventually consistent.
        """
        for _ in range(READS):
            newest = self.known.book.cut(place)
            if newest.generation != cut.generation and not newest.covers_all(cut):
                return None
            if self._settled(_role(place), newest) is None:
                return newest if self.known.book.cut(place) == newest else None
            self.known.wait(PAUSE)
        return None

    def _how(self, witness: Witness | None, newest: Cut, ours: Cut) -> DeniedHow:
        """Only a witness that was let in before, and no longer is, tells that it holds."""
        if witness is None or newest.generation != ours.generation:
            return DeniedHow.ASSERTED
        if not witness.is_refused(self.known.wait):
            raise MinterUnavailable("the refusal is written, and a witness is still let in")
        return DeniedHow.WITNESSED

    def _differs(self, role: str, cut: Cut) -> str | None:
        """What is wrong there, unless it is only read late: IAM is eventually consistent."""
        why = None
        for _ in range(READS):
            why = self._settled(role, cut)
            if why is None:
                return None
            self.known.wait(PAUSE)
        return why

    def _settled(self, role: str, cut: Cut) -> str | None:
        """None when exactly this generation stands at the role; else what is wrong."""
        there = self.roles.read(role)
        refuse_foreign(there, self.installation)
        if cut.empty:
            return None
        if there is None:
            return "it was deleted"
        return None if self._same(there, cut) else "it was changed"

    def _same(self, there: Written, cut: Cut) -> bool:
        return there.text == compact(cut_document(self.installation, cut))


def _role(place: str) -> str:
    return place.removeprefix(f"{NAME} ")
