"""FakeMinter: a back end in a dictionary that can be told to fail, hang, lie and remember."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import (
    BrokerError,
    MinterRefused,
    MinterUnavailable,
    NotRenewable,
    OutcomeUnknown,
)
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


@dataclass
class FakeMinter:
    """Credentials that exist while their names stand in `alive`.

    `at` says at which target, where it is not the first of `known_targets`; those in `away` cannot
    be looked at.

    `fail_mint` and `fail_end` raise once for each error put there, `after_mint` runs once the
    object exists. `cuttable=False` makes it one that only expires; `denies` one that can
    be told to refuse what then only expires (`refused`; `lapses` are told once). With `lingers` an
    end is claimed and not done. `fenced_at` says from when it is of no use.
    """

    name: str = "fake"
    installation: str = "abcdefe1"
    cuttable: bool = True
    denies: bool = False
    fenced_at: Callable[[], datetime] | None = None
    denied: Callable[[datetime], Denied] = Denied
    place: str = ""
    refused: set[str] = field(default_factory=set)
    lapses: list[Lapse] = field(default_factory=list)
    looks: bool = True
    extra_life: timedelta = timedelta(0)
    known_targets: tuple[str, ...] = ("orders-db",)
    alive: dict[str, LeaseId] = field(default_factory=dict)
    at: dict[str, str] = field(default_factory=dict)
    until: dict[str, datetime] = field(default_factory=dict)
    apart: timedelta = timedelta(0)
    away: set[str] = field(default_factory=set)
    secrets_made: list[str] = field(default_factory=list)
    wanted: list[CataloguedScope] = field(default_factory=list)
    fail_mint: list[BrokerError] = field(default_factory=list)
    fail_after_mint: list[BrokerError] = field(default_factory=list)
    fail_end: list[BrokerError] = field(default_factory=list)
    before_mint: Callable[[], None] = lambda: None
    after_mint: Callable[[], None] = lambda: None
    before_end: Callable[[], None] = lambda: None
    after_end: Callable[[], None] = lambda: None
    fail_probe: list[BrokerError] = field(default_factory=list)
    fail_found: list[BrokerError] = field(default_factory=list)
    after_found: Callable[[], None] = lambda: None
    fail_renew: list[BrokerError] = field(default_factory=list)
    fail_after_renew: list[BrokerError] = field(default_factory=list)
    before_renew: Callable[[], None] = lambda: None
    after_renew: Callable[[], None] = lambda: None
    renewals: list[tuple[str, timedelta]] = field(default_factory=list)
    lingers: bool = False
    ends: int = 0

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """Named by the mark."""
        mark = Mark.of(self.installation, short_digest(str(wanted.scope)), lease_id)
        where = {"place": self.place} if self.place else {}
        return Handle(self.name, wanted.target.name, str(mark), where)

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """What its end can be proven to be."""
        if self.denies or not self.cuttable:
            return Proof.EXPIRED
        return Proof.VERIFIED if self.looks else Proof.CONFIRMED

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Make it exist, unless told to fail before or after."""
        self.wanted.append(wanted)
        self.before_mint()
        if deadline.left() <= 0:
            raise OutcomeUnknown("the attempt took too long and was given up")
        if self.fail_mint:
            raise self.fail_mint.pop(0)
        mark = Mark.read(handle.name)
        assert mark is not None
        self.alive[handle.name] = mark.lease_id
        self.after_mint()
        if self.fail_after_mint:
            raise self.fail_after_mint.pop(0)
        value = secrets.token_urlsafe(24)
        self.secrets_made.append(value)
        secret = Secret({"value": value}, {"type": "fake", "name": handle.name})
        minted = Minted(secret, ttl + self.extra_life, f"ref/{handle.name}")
        return minted if self.fenced_at is None else replace(minted, fenced_at=self.fenced_at())

    def renews(self, wanted: CataloguedScope) -> bool:
        """What can be cut can be renewed."""
        return self.cuttable

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Let it live on, unless told to fail before or after; what is gone stays gone."""
        self.before_renew()
        if deadline.left() <= 0:
            raise OutcomeUnknown("the attempt took too long and was given up")
        if not self.cuttable:
            raise NotRenewable()
        if self.fail_renew:
            raise self.fail_renew.pop(0)
        if handle.name not in self.alive:
            raise MinterRefused("there is nothing to renew")
        self.renewals.append((handle.name, ttl))
        self.after_renew()
        if self.fail_after_renew:
            raise self.fail_after_renew.pop(0)
        return Renewed(ttl + self.extra_life)

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """Make it exist no longer, if it can be cut."""
        self.ends += 1
        self.before_end()
        if self.fail_end:
            raise self.fail_end.pop(0)
        if self.denies:
            self.refused.add(handle.name)
            return self.denied(backend_expires_at)
        if not self.cuttable and handle.name in self.alive:
            return LivesUntil(backend_expires_at)
        if not self.lingers:
            self.alive.pop(handle.name, None)
        self.after_end()
        return Gone()

    def probe(self, handle: Handle) -> Presence:
        """Look."""
        if self.fail_probe:
            raise self.fail_probe.pop(0)
        if not self.looks:
            return Presence.UNKNOWN
        return Presence.PRESENT if handle.name in self.alive else Presence.ABSENT

    def targets(self) -> tuple[str, ...]:
        """Those it was told of."""
        return self.known_targets

    def found(self, target: str) -> Iterator[Found]:
        """Everything alive there with a mark."""
        if self.fail_found:
            raise self.fail_found.pop(0)
        if target in self.away:
            raise MinterUnavailable()
        for name in [x for x in self.alive if self.at.get(x, self.known_targets[0]) == target]:
            mark = Mark.read(name)
            if mark is not None:
                handle = Handle(self.name, target, name)
                yield Found(handle, mark.installation, mark.lease_id, self.until.get(name))
        self.after_found()

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """What it was told."""
        return self.until.get(handle.name)

    def skew(self, target: str) -> timedelta:
        """As it was told."""
        return self.apart

    def claim(self) -> list[str]:
        """Nothing to claim."""
        return []

    def problem(self) -> str | None:
        """Always able."""
        return None

    def longest_life(self, ttl: timedelta) -> timedelta:
        """As long as asked, and as much longer as it was told to live."""
        return ttl + self.extra_life

    def reassert(self, *, renew: bool = True) -> list[Lapse]:
        """What was put into `lapses`, until it is renewed."""
        found = list(self.lapses)
        if renew:
            self.lapses.clear()
        return found
