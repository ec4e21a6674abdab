"""PostgreSQL logins through OpenBao's database engine: a role of its own for every lease.

The role's name is the mark, known before the mint; the role writer can write only what the pins
allow; ending deletes the role and revokes its leases by prefix; the proof is that OpenBao lists no
lease and that the inspector finds neither role nor session.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from valetkey.core.catalogue import Catalogue, CataloguedScope, Target
from valetkey.core.errors import (
    BrokerError,
    MinterRefused,
    MinterUnavailable,
    NotAsked,
    OutcomeUnknown,
)
from valetkey.core.ids import LeaseId, Mark, lease_id_of
from valetkey.core.lease import Handle, Proof
from valetkey.core.secret import Secret
from valetkey.core.statements import (
    FORGOTTEN_PREFIX,
    database_role,
    forgotten_body,
    lane,
)
from valetkey.minters.bao import Bao, Login, NothingThere
from valetkey.minters.inspector import Inspector
from valetkey.minters.neighbours import Neighbours
from valetkey.minters.openbao_witness import OpenBaoWitness
from valetkey.minters.pins import reading_groups, role_body, unpinned
from valetkey.ports import Deadline, Ending, Found, Gone, Lapse, Minted, Presence, Renewed

VALID_UNTIL_SLACK = timedelta(seconds=5)  # the engine adds it to VALID UNTIL
CLAIMS = "valetkey/data/claims"
MOST_FORGOTTEN = 10_000
LARGEST_SKEW = timedelta(seconds=5)
_WHERE = ("host", "port", "database", "sslmode")


@dataclass(frozen=True)
class Logins:
    """Our four ways in, each with a narrow policy of its own."""

    writer: Login
    reader: Login
    ender: Login
    inspector: Login


class OpenBaoDatabase:
    """The minter for PostgreSQL targets."""

    def __init__(
        self,
        bao: Bao,
        logins: Logins,
        installation: str,
        catalogue: Callable[[], Catalogue],
        now: Callable[[], datetime],
        failpoint: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._bao, self._logins = bao, logins
        self._now, self._failpoint = now, failpoint
        self._installation, self._catalogue = installation, catalogue
        self._name = "openbao-database"
        self._inspectors: dict[tuple[str, ...], Inspector] = {}
        self._forgotten: dict[str, None] = {}
        self._blind: frozenset[str] = frozenset()
        self._unproven: frozenset[str] = frozenset()
        self._apart = False
        self._lock = threading.Lock()

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """The role's name, and where to find it without any catalogue."""
        target = wanted.target
        role = database_role(wanted, lane(target, lease_id))
        mark = Mark.of(self._installation, role.digest, lease_id)
        return self._handle(target, str(mark))

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """We look inside, so the end is verified."""
        return Proof.VERIFIED

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Write the pinned role, then read one credential of it.

        Leases at OpenBao die with the token that read them, so nothing is read under one that ends
        first: an earlier token needs no renewing once it was replaced.
        """
        mark = Mark.read(handle.name)
        if mark is None:
            raise MinterUnavailable("the handle is not ours")
        if handle.target in self._blind | self._unproven:
            raise NotAsked("the target cannot be looked at", retry_after=30)
        if self._apart:
            raise NotAsked("OpenBao's clock is too far from the database's", retry_after=30)
        role = database_role(wanted, lane(wanted.target, mark.lease_id))
        mount = handle.where["mount"]
        _in_time(deadline)
        if self._logins.reader.life_left() < (ttl + VALID_UNTIL_SLACK).total_seconds():
            raise NotAsked("the reader token ends before the credential would", retry_after=30)
        body: dict[str, object] = dict(role_body(role, ttl))
        self._bao.call(self._logins.writer, "POST", f"{mount}/roles/{handle.name}", body)
        self._failpoint("mint.role_written")
        _in_time(deadline)
        answer = self._bao.call(self._logins.reader, "GET", f"{mount}/creds/{handle.name}")
        login = answer["data"]
        if login["username"] != handle.name:
            raise OutcomeUnknown("OpenBao gave another user name than asked")
        return Minted(
            secret=Secret({"password": login["password"]}, self._public(wanted.target, handle)),
            lifetime=timedelta(seconds=int(answer["lease_duration"])),
            back_ref=str(answer["lease_id"]),
            slack=VALID_UNTIL_SLACK,
        )

    def renews(self, wanted: CataloguedScope) -> bool:
        """The engine moves VALID UNTIL with its lease."""
        return True

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Renew the engine's lease, which reads the role again: one that was deleted renews none.

        The engine cuts the time so that the whole life stays within the role's `max_ttl`.
        """
        _in_time(deadline)
        body = {"increment": int(ttl.total_seconds())}
        answer = self._bao.call(self._logins.reader, "PUT", f"sys/leases/renew/{back_ref}", body)
        seconds = timedelta(seconds=int(answer["lease_duration"]))
        return Renewed(seconds, VALID_UNTIL_SLACK)

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """Delete the role, so that no frozen issuer can read it, and revoke what it gave."""
        mount, name = handle.where["mount"], handle.name
        with suppress(MinterUnavailable):  # being blind keeps nothing from being ended
            self._inspector(handle).remember(name)
        self._bao.call(self._logins.ender, "DELETE", f"{mount}/roles/{name}")
        self._failpoint("end.role_deleted")
        prefix = f"sys/leases/revoke-prefix/{mount}/creds/{name}"
        self._bao.call(self._logins.ender, "PUT", prefix, {"sync": True})
        if name in self._forgotten:
            self._end_forgotten(handle)
        return Gone()

    def probe(self, handle: Handle) -> Presence:
        """Does OpenBao list a lease, does the target know the role or a session of it?

        A role in the target without a lease at OpenBao was forgotten there, and is noted, because
        revoking will never drop it.
        """
        mount, name = handle.where["mount"], handle.name
        seen = self._inspector(handle).sees(name)
        known = self._bao.knows(self._logins.ender, f"sys/leases/lookup/{mount}/creds/{name}/")
        if seen and not known:
            self._forgotten[name] = None
            while len(self._forgotten) > MOST_FORGOTTEN:  # the next look notes it again
                self._forgotten.pop(next(iter(self._forgotten)), None)
        return Presence.PRESENT if seen or known else Presence.ABSENT

    def targets(self) -> list[str]:
        """Those of the catalogue, by name."""
        return sorted(target.name for target in self._targets())

    def found(self, target: str) -> Iterator[Found]:
        """Marked roles at OpenBao, marked leases there, and marked roles in the target.

        What begins as our marks do was made with our logins, even if it is no mark. A target that
        left the catalogue has nothing to be found any more.
        """
        here = self._catalogue().targets.get(target)
        if here is None:
            return
        listed = self._listed(here)
        inside = self._inspector(self._handle(here, "")).marked()
        ours = Neighbours(self._targets(), self._listed)
        for name in sorted(listed | inside.keys()):
            if name in listed or ours.belongs(name, here):
                found = self._seen(here, name, inside.get(name))
                if found is not None:
                    yield found

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """The lease's own end at OpenBao; None when OpenBao knows no such lease."""
        if back_ref is None:
            return None
        try:
            path = "sys/leases/lookup"
            answer = self._bao.call(self._logins.ender, "PUT", path, {"lease_id": back_ref})
        except MinterRefused:  # it answers so for a lease that it does not know
            return None
        told = answer["data"]["expire_time"]
        return datetime.fromisoformat(told) if told else datetime.max.replace(tzinfo=UTC)

    def skew(self, target: str) -> timedelta:
        """OpenBao's clock, which tells whole seconds, and the target's."""
        here = self._catalogue().targets[target]
        inside = abs(self._inspector(self._handle(here, "")).clock() - self._now())
        return max(inside, self._bao.health().apart(self._now()))

    def problem(self) -> str | None:
        """Sealed, wrong pins, a dying reader, all inspectors blind: none of these may mint.

        While the clocks are too far apart nothing is minted; it is looked at with each upkeep.
        A target that alone cannot be looked at gets nothing minted, and stops no other.
        """
        try:
            seen = self._bao.health()
            skewed = seen.skewed(self._now(), LARGEST_SKEW)
            self._apart = skewed is not None
            if ill := seen.problem or skewed:
                return ill
            missing = unpinned(self._catalogue(), self._installation, self._policy_text)
            if missing:
                return "OpenBao does not hold the pins of " + ", ".join(missing)
            longest = self._longest_ttl()
            if self._logins.reader.life_left() < longest.total_seconds():
                return "the reader token ends before the longest lease would"
            targets = self._targets()
            self._blind = self._look_at_all(targets)
            if targets and len(self._blind) == len(targets):
                return "no target can be looked at"
            for target in targets:
                claimant = self._claimant(target.name)
                if claimant != self._installation:
                    whose = "another installation or epoch" if claimant else "nobody yet"
                    return f"{target.name} is claimed by {whose}"
        except BrokerError as problem:
            return problem.detail
        return None

    def longest_life(self, ttl: timedelta) -> timedelta:
        """As long as asked, and what the engine adds to VALID UNTIL."""
        return ttl + VALID_UNTIL_SLACK

    def reassert(self, *, renew: bool = True) -> list[Lapse]:
        """What is ended is gone, and needs no refusing."""
        return []

    def not_proven(self, catalogue: Catalogue) -> list[tuple[str, str]]:
        """Targets of a catalogue that may not be active, and why.

        Its pins must be seen at OpenBao, and no group of a scope that does not mutate may write.
        A target that cannot be looked at gets nothing minted until it was, and keeps no other from
        being active. Raises MinterUnavailable, MinterRefused or OutcomeUnknown
        when OpenBao cannot be asked.
        """
        pins = unpinned(catalogue, self._installation, self._policy_text)
        why = "its pins are not seen at OpenBao; `catalogue openbao-policy` prints them"
        found = [(name, why) for name in pins]
        self._blind = frozenset()
        for target in self._targets(catalogue):
            try:
                wrong = self._writing_readers(target)
            except MinterUnavailable:
                self._unproven |= {target.name}
                continue
            found += wrong
            self._unproven -= set() if wrong else {target.name}
        return found

    def claim(self) -> list[str]:
        """Put our installation's name at each mount that has none; the targets newly claimed."""
        return [target.name for target in self._targets() if self._claim(target.name)]

    def witness(self) -> OpenBaoWitness:
        """The same OpenBao as the witness of our database."""
        return OpenBaoWitness(self._bao, self._logins.ender)

    def close(self) -> None:
        """Give back the inspectors' connections."""
        for inspector in self._inspectors.values():
            inspector.close()

    def _listed(self, target: Target) -> set[str]:
        """What OpenBao has roles or leases of at the mount of a target."""
        ender = self._logins.ender
        roles = self._bao.names(ender, f"{target.mount}/roles/")
        leases = self._bao.names(ender, f"sys/leases/lookup/{target.mount}/creds/")
        return {*roles, *(name.rstrip("/") for name in leases)}

    def _seen(self, target: Target, name: str, until: datetime | None) -> Found | None:
        mark, handle = Mark.read(name), self._handle(target, name)
        if mark is not None:
            return Found(handle, mark.installation, mark.lease_id, until)
        if name.startswith(f"vk-{self._installation}-"):
            return Found(handle, self._installation, lease_id_of(name), until)
        return None

    def _end_forgotten(self, handle: Handle) -> None:
        """Drop a role that OpenBao has no lease for: it died between making and recording it."""
        mount, name = handle.where["mount"], FORGOTTEN_PREFIX + handle.name
        ender, role = self._logins.ender, f"{mount}/roles/{name}"
        body: dict[str, object] = dict(forgotten_body(handle.where["connection"]))
        self._bao.call(ender, "DELETE", role)
        self._bao.call(ender, "POST", role, body)
        self._bao.call(ender, "GET", f"{mount}/creds/{name}")
        self._bao.call(ender, "DELETE", role)
        prefix = f"sys/leases/revoke-prefix/{mount}/creds/{name}"
        self._bao.call(ender, "PUT", prefix, {"sync": True})
        self._forgotten.pop(handle.name, None)

    def _writing_readers(self, target: Target) -> list[tuple[str, str]]:
        """Groups of scopes that only read, and may write. Raises MinterUnavailable."""
        inspector = self._inspector(self._handle(target, ""))
        return [
            (target.name, f"a scope that only reads is made of {group}, which may write")
            for group in sorted(reading_groups(target))
            if inspector.can_write(group)
        ]

    def _look_at_all(self, targets: list[Target]) -> frozenset[str]:
        """The targets that cannot be looked at; side by side, so that none waits for another."""
        with ThreadPoolExecutor(8, "look") as threads:
            blind = threads.map(self._is_blind, targets)
            return frozenset(x.name for x, is_blind in zip(targets, blind, strict=True) if is_blind)

    def _is_blind(self, target: Target) -> bool:
        try:
            self._inspector(self._handle(target, "")).sees("vk-")
        except MinterUnavailable:
            return True
        return False

    def _policy_text(self, name: str) -> str | None:
        try:
            answer = self._bao.call(self._logins.ender, "GET", f"sys/policies/acl/{name}")
        except NothingThere:
            return None
        return str(answer["data"]["policy"])

    def _claim(self, target: str) -> bool:
        if self._claimant(target) is not None:
            return False
        body = {"options": {"cas": 0}, "data": {"installation": self._installation}}
        self._bao.call(self._logins.ender, "POST", f"{CLAIMS}/{target}", body)
        return True

    def _claimant(self, target: str) -> str | None:
        try:
            answer = self._bao.call(self._logins.ender, "GET", f"{CLAIMS}/{target}")
        except NothingThere:
            return None
        return str(answer["data"]["data"].get("installation"))

    def _targets(self, catalogue: Catalogue | None = None) -> list[Target]:
        targets = (catalogue or self._catalogue()).targets.values()
        return [target for target in targets if target.minter == self._name]

    def _longest_ttl(self) -> timedelta:
        ttls = (scope.longest for target in self._targets() for scope in target.scopes.values())
        return max(ttls, default=timedelta(0))

    def _handle(self, target: Target, name: str) -> Handle:
        where = {key: str(target.address[key]) for key in _WHERE if key in target.address}
        where |= {"mount": target.mount, "inspector": target.inspector}
        mark = Mark.read(name)
        where["connection"] = lane(target, mark.lease_id if mark else "")
        return Handle(self._name, target.name, name, where)

    def _public(self, target: Target, handle: Handle) -> dict[str, object]:
        """What the asker is told besides the password."""
        return {"type": "postgresql", "username": handle.name, **target.address}

    def _inspector(self, handle: Handle) -> Inspector:
        where = {key: value for key, value in handle.where.items() if key != "connection"}
        key = tuple(sorted(where.values()))
        with self._lock:
            if key not in self._inspectors:
                self._inspectors[key] = Inspector(where, lambda: self._look_in(where))
            return self._inspectors[key]

    def _look_in(self, where: dict[str, str]) -> tuple[str, str]:
        path = f"{where['mount']}/static-creds/{where['inspector']}"
        answer = self._bao.call(self._logins.inspector, "GET", path)["data"]
        return str(answer["username"]), str(answer["password"])


def _in_time(deadline: Deadline) -> None:
    """Checked before each outside call: a thread that was frozen makes nothing any more."""
    if deadline.left() <= 0:
        raise OutcomeUnknown("the attempt took too long and was given up", retry_after=5)
