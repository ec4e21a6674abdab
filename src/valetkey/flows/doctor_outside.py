"""What the doctor sees by looking outside: objects, their ends there, and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from valetkey.core.comparison import Known, same_installation
from valetkey.core.errors import BrokerError
from valetkey.core.invariants import Violation
from valetkey.core.lease import Lease, LeaseState
from valetkey.flows.reconcile import leases_behind
from valetkey.ports import Broker, Found, Transaction

SAMPLE = 50
LARGEST_SKEW = timedelta(seconds=6)
"""Five seconds, and one because a back end may tell whole seconds."""


@dataclass(frozen=True)
class Outside:
    """One minter's back ends, compared with what the database held at `now`.

    `moment` is how long an end may take from the instant it is due.
    """

    broker: Broker
    minter: str
    now: datetime
    moment: timedelta

    def violations(self) -> Iterator[Violation]:
        """I1 to I4 and I17; a target that cannot be looked at is one itself, and hides no other."""
        try:
            targets = self.broker.minters[self.minter].targets()
        except BrokerError as problem:  # no catalogue is in force
            yield Violation("I1", self.minter, f"could not be looked at: {problem.code}")
            return
        for target in targets:
            try:
                yield from self._at(target)
                yield from self._clocks(target)
            except BrokerError as problem:
                yield Violation("I1", target, f"could not be looked at: {problem.code}")
        yield from self._told_ends()
        yield from self._refusals()

    def _refusals(self) -> Iterator[Violation]:
        """I4: what we call denied is what its place is told to refuse."""
        try:
            for lapse in self.broker.minters[self.minter].reassert(renew=False):
                yield Violation("I4", lapse.place, f"does not refuse what we say: {lapse.why}")
        except BrokerError as problem:
            yield Violation("I4", self.minter, f"its refusals could not be seen: {problem.code}")

    def _at(self, target: str) -> list[Violation]:
        suspects = self._suspects(target)
        found = self.broker.minters[self.minter].found
        there = {x.handle.name for x in found(target)} if suspects else set()
        # What is not there any more was only ended while we looked.
        return [told for one, told in suspects if one.handle.name in there]

    def _suspects(self, target: str) -> list[tuple[Found, Violation]]:
        with self.broker.store.transaction() as tx:
            unended = {x.name: x for x in tx.unended_names(self.minter)}
        found = list(self.broker.minters[self.minter].found(target))
        rest = [x for x in found if x.handle.name not in unended]
        with self.broker.store.transaction() as tx:
            behind = {**unended, **leases_behind(tx, rest)} if rest else unended
        each = ((x, behind.get(x.handle.name)) for x in found)
        return [(one, told) for one, lease in each for told in self._astray(one, lease)]

    def _astray(self, found: Found, lease: Known | None) -> Iterator[Violation]:
        if lease is None:
            if same_installation(found.installation, self.broker.installation):
                yield Violation("I1", found.handle.name, "exists outside and has no lease")
        elif lease.state is LeaseState.ENDED:
            yield Violation("I4", lease.lease_id, "ended by our record, and exists outside")
        elif self.now > lease.backend_expires_at + self.moment:
            yield Violation("I2", lease.lease_id, "exists outside past its end")
        elif found.until is not None and found.until > lease.backend_expires_at + LARGEST_SKEW:
            yield Violation("I3", lease.lease_id, "the target takes it longer than we recorded")

    def _clocks(self, target: str) -> Iterator[Violation]:
        skew = self.broker.minters[self.minter].skew(target)
        if skew > LARGEST_SKEW:
            off = f"a clock there is {skew.total_seconds():.0f} s from the database's"
            yield Violation("I17", target, off)

    def _told_ends(self) -> Iterator[Violation]:
        """I3 by asking the back end itself, one call each, so only of the newest."""
        for lease in self._newest():
            try:
                until = self.broker.minters[self.minter].lives_until(lease.handle, lease.back_ref)
            except BrokerError:
                return  # it was named above
            if until is not None and until > lease.backend_expires_at + LARGEST_SKEW:
                yield Violation("I3", lease.id, "lives longer at the back end than we recorded")

    def _newest(self) -> Sequence[Lease]:
        with self.broker.store.transaction() as tx:
            newest = sorted(_active(tx, self.minter), reverse=True)[:SAMPLE]
            found = [tx.lease(lease_id) for lease_id in newest]
        return [x for x in found if x is not None and x.state is LeaseState.ACTIVE]


def ends_asked(broker: Broker) -> tuple[int, int]:
    """Of how many active leases back ends are asked for the end, and how many there are.

    Raises StoreUnavailable.
    """
    with broker.store.transaction() as tx:
        active = [len(_active(tx, minter)) for minter in broker.minters]
    return sum(min(SAMPLE, count) for count in active), sum(active)


def _active(tx: Transaction, minter: str) -> list[str]:
    return [x.lease_id for x in tx.unended_names(minter) if x.state is LeaseState.ACTIVE]
