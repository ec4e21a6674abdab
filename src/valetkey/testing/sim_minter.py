"""SimBackEnd: a back end whose answers get lost, come late, and whose work is done later still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import MinterRefused, MinterUnavailable, NotAsked, OutcomeUnknown
from valetkey.core.ids import LeaseId, Mark, short_digest
from valetkey.core.lease import Handle, Proof
from valetkey.core.secret import Secret
from valetkey.ports import (
    Deadline,
    Denied,
    Ending,
    Found,
    Gone,
    Lapse,
    LivesUntil,
    Minted,
    Presence,
    Renewed,
)
from valetkey.testing.sim_steps import Alone, Steps


@dataclass(frozen=True)
class Thing:
    """One credential as the outside knows it. `asked_at`: when the call that made it was sent.

    `asked_by`: until when the renewal that made or kept it might be sent; None after a mint.
    `as_asked`: it lives as long as was asked for, and not longer by a fault of the back end.
    """

    name: str
    lease_id: LeaseId
    asked_at: datetime
    made_at: datetime
    lives_until: datetime
    asked_by: datetime | None = None
    as_asked: bool = True


@dataclass(frozen=True)
class Late:
    """A call whose effect comes later. `asked_by` as for Thing: None for a mint."""

    at: datetime
    handle: Handle
    asked_at: datetime
    ttl: timedelta
    asked_by: datetime | None = None


@dataclass
class SimBackEnd:
    """Credentials that exist while they stand in `there`.

    Omens of `mint`: refused, away, before (unknown, and nothing was made), after (unknown, and it
    was), late (unknown, and made within `request_limit`), longer (than asked, if it can be cut).
    Of `ask`, before all these: unable (we did not ask it).
    Of `renew`: the same, where a late one may even bring back what was ended since.
    With `denies` an end is only a refusal, and what it refuses lives on to its own end.
    Of `end`: refused, away, after (ended, and the answer lost). Of `look`: away.
    `asked` is told of each mint that is about to be sent in time.
    `made` is told of each thing as it comes to be; `unseen` names those that were made after the
    last look had found nothing, and ended before the next.
    """

    now: Callable[[], datetime]
    steps: Steps = field(default_factory=Alone)
    random: Callable[[], float] = lambda: 0.5
    name: str = "fake"
    installation: str = "abcdefe1"
    cuttable: bool = True
    denies: bool = False
    looks: bool = True
    request_limit: timedelta = timedelta(seconds=90)
    there: dict[str, Thing] = field(default_factory=dict)
    coming: list[Late] = field(default_factory=list)
    asked: Callable[[Handle], None] = lambda handle: None
    made: Callable[[Thing], None] = lambda thing: None
    prolonged: Callable[[Thing], None] = lambda thing: None
    unseen: set[LeaseId] = field(default_factory=set)
    _absent: dict[str, datetime] = field(default_factory=dict)

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """Named by the mark."""
        mark = Mark.of(self.installation, short_digest(str(wanted.scope)), lease_id)
        return Handle(self.name, wanted.target.name, str(mark))

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """What its end can be proven to be."""
        if self.denies or not self.cuttable:
            return Proof.EXPIRED
        return Proof.VERIFIED if self.looks else Proof.CONFIRMED

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Make it exist, unless an omen says otherwise; whoever freezes in here acts late."""
        self.steps.step("mint: deadline", handle.target)
        if deadline.left() <= 0:
            raise OutcomeUnknown("the attempt took too long and was given up")
        if self.steps.omen("ask") == "unable":
            raise NotAsked()
        self.asked(handle)
        self.steps.step("mint: call", handle.target)
        omen, asked_at = self.steps.omen("mint"), self.now()
        if omen == "refused":
            raise MinterRefused()
        if omen == "away":
            raise MinterUnavailable()
        if omen == "before":
            raise OutcomeUnknown()
        if omen == "late":
            at = asked_at + self.request_limit * self.random()
            self.coming.append(Late(at, handle, asked_at, ttl))
            raise OutcomeUnknown()
        longer = omen == "longer" and self.cuttable
        lifetime = ttl * 2 if longer else ttl
        self._make(Late(asked_at, handle, asked_at, lifetime), as_asked=not longer)
        self.steps.step("mint: answer", handle.target)
        if omen == "after":
            raise OutcomeUnknown()
        secret = Secret({"value": f"secret of {handle.name}"}, {"name": handle.name})
        return Minted(secret, lifetime, f"ref/{handle.name}")

    def renews(self, wanted: CataloguedScope) -> bool:
        """What can be cut can be renewed."""
        return self.cuttable

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Let it live on, unless an omen says otherwise; whoever freezes in here acts late."""
        self.steps.step("renew: deadline", handle.target)
        if deadline.left() <= 0:
            raise OutcomeUnknown("the attempt took too long and was given up")
        by = self.now() + timedelta(seconds=deadline.left())
        self.steps.step("renew: call", handle.target)
        omen, asked_at = self.steps.omen("renew"), self.now()
        if omen == "refused" or handle.name not in self.there:
            raise MinterRefused()
        if omen == "away":
            raise MinterUnavailable()
        if omen == "before":
            raise OutcomeUnknown()
        if omen == "late":
            at = asked_at + self.request_limit * self.random()
            self.coming.append(Late(at, handle, asked_at, ttl, by))
            raise OutcomeUnknown()
        longer = omen == "longer"
        lifetime = ttl * 2 if longer else ttl
        self._make(Late(asked_at, handle, asked_at, lifetime, by), as_asked=not longer)
        self.steps.step("renew: answer", handle.target)
        if omen == "after":
            raise OutcomeUnknown()
        return Renewed(lifetime)

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """Make it exist no longer, if it can be cut."""
        self.steps.step("end: call", handle.target)
        omen = self.steps.omen("end")
        if omen == "refused":
            raise MinterRefused()
        if omen == "away":
            raise MinterUnavailable()
        if self.denies:
            return Denied(backend_expires_at)
        if not self.cuttable:
            return LivesUntil(backend_expires_at)
        thing, looked_at = self.there.pop(handle.name, None), self._absent.get(handle.name)
        if thing and looked_at and looked_at <= thing.made_at:
            self.unseen.add(thing.lease_id)
        self.steps.step("end: answer", handle.target)
        if omen == "after":
            raise MinterUnavailable()
        return Gone()

    def probe(self, handle: Handle) -> Presence:
        """Look."""
        self._look("probe")
        if not self.looks:
            return Presence.UNKNOWN
        if handle.name in self.there:
            return Presence.PRESENT
        self._absent[handle.name] = self.now()
        return Presence.ABSENT

    def targets(self) -> list[str]:
        """The one target of the small catalogue."""
        return ["orders-db"]

    def found(self, target: str) -> Iterator[Found]:
        """Everything there with a mark, all at once; what happens after the look is not in it."""
        self._look("found")
        for thing in list(self.there.values()) if self.looks else []:
            mark = Mark.read(thing.name)
            if mark is not None:
                handle = Handle(self.name, target, thing.name)
                yield Found(handle, mark.installation, mark.lease_id, thing.lives_until)

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """As it was made."""
        return thing.lives_until if (thing := self.there.get(handle.name)) else None

    def skew(self, target: str) -> timedelta:
        """There is one clock."""
        return timedelta(0)

    def claim(self) -> list[str]:
        """Nothing to claim."""
        return []

    def problem(self) -> str | None:
        """Always able."""
        return None

    def longest_life(self, ttl: timedelta) -> timedelta:
        """As long as asked."""
        return ttl

    def reassert(self, *, renew: bool = True) -> list[Lapse]:
        """Nobody undoes a refusal here."""
        return []

    def time_passed(self) -> None:
        """What was to happen by now happens: late work is done, what only expires is gone."""
        now = self.now()
        for late in [x for x in self.coming if x.at <= now]:
            self.coming.remove(late)
            self._make(late)
        if self.denies or not self.cuttable:
            for name in [x.name for x in self.there.values() if x.lives_until <= now]:
                del self.there[name]

    def _look(self, what: str) -> None:
        self.steps.step(what)
        if self.steps.omen("look") != "ok":
            raise MinterUnavailable()

    def _make(self, done: Late, *, as_asked: bool = True) -> None:
        """A mint makes it; a renewal prolongs it, or makes it again where it had been ended."""
        name, mark = done.handle.name, Mark.read(done.handle.name)
        assert mark is not None
        until = done.at + done.ttl
        known = self.there.get(name)
        as_asked = as_asked and (done.asked_by is None or done.asked_at <= done.asked_by)
        thing = Thing(name, mark.lease_id, done.asked_at, done.at, until, done.asked_by, as_asked)
        if known is not None and done.asked_by is not None:
            thing = replace(thing, asked_at=known.asked_at, made_at=known.made_at, asked_by=None)
        self.there[name] = thing
        if known is None:
            self.made(thing)
        self.prolonged(thing)
