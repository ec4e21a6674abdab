"""Leases: our record that a credential is out and must end. Five states, one way out.

    MINTING ──► ACTIVE ──► ENDING ──► ENDED(reason, proof)
       └──────────────────►  ▲ │  ▲        │ reappeared
                             │ ▼  └────────┘
                             STUCK (still retried, for ever)

Every move returns a new value; the store refuses to save one whose fence has moved meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from valetkey.core.ids import LeaseId


class LeaseState(StrEnum):
    """Where a lease stands."""

    MINTING = "minting"
    ACTIVE = "active"
    ENDING = "ending"
    STUCK = "stuck"
    ENDED = "ended"


REAPPEARED = "reappeared"
PROBE = "probe"
"""Why the broker's own leases end, and what cut their time: nobody asked for them."""
LIVE = frozenset({LeaseState.MINTING, LeaseState.ACTIVE})
UNENDED = frozenset({LeaseState.MINTING, LeaseState.ACTIVE, LeaseState.ENDING, LeaseState.STUCK})


RENEWAL_MARGIN = timedelta(seconds=5)
"""How long before its end a renewal must be asked for, at most; a tenth of a short TTL."""

LOST = frozenset({"redelivered", "vanished", "unacknowledged"})
"""Why a delivered lease may have ended and still be given again; otherwise somebody took it away,
or its time was over. What reappeared may have been taken away before it did."""


class Proof(StrEnum):
    """How we know that a lease is over; never a bare "revoked"."""

    VERIFIED = "verified"
    CONFIRMED = "confirmed"
    EXPIRED = "expired"
    NEVER_EXISTED = "never_existed"
    WRITTEN_OFF = "written_off"


class DeniedHow(StrEnum):
    """How we know that a back end refuses a credential at our word."""

    ASSERTED = "asserted"
    WITNESSED = "witnessed"


@dataclass(frozen=True)
class Handle:
    """What a minter needs to find and end a credential; useless to a thief.

    `name` is the outside object's name (the mark), `where` the minter's own coordinates.
    """

    minter: str
    target: str
    name: str
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str | None:
        """Where its back end is told to refuse it, for those that can only be refused."""
        where = self.where.get("place")
        return f"{self.minter} {where}" if where else None


@dataclass(frozen=True)
class Patience:
    """How long we wait for what; all durations, every one a setting.

    mint_limit: an issuer may be minting for so long. second_tap: quiet time after that, the back
    end's own request limit and skew. claim: a claimed ending comes due again after it.
    """

    mint_limit: timedelta = timedelta(seconds=30)
    second_tap: timedelta = timedelta(seconds=95)
    claim: timedelta = timedelta(seconds=20)
    first_retry: timedelta = timedelta(seconds=1)
    longest_retry: timedelta = timedelta(minutes=5)
    stuck_after_tries: int = 12
    stuck_after: timedelta = timedelta(minutes=15)


@dataclass(frozen=True)
class Lease:
    """One credential's record. Instants are UTC and come from the database clock.

    expires_at: when we act, never later than granted. backend_expires_at: never earlier than
    reality. due_at: when the sweep looks at it next, None once ended.

    renewable_for: for how long in all renewals may keep it alive, None without any; counted from
    its activation until renewable_until. renewals: how many were begun. second_tap_at is ahead as
    long as a mint or a renewal may be in flight. ack_by: when it ends unless its asker said that
    it came.
    fenced_at: from when the credential itself allows nothing. denied_at: since when the back end
    refuses it at our word, denied_how: how we know; neither is its end, backend_expires_at is.
    """

    id: LeaseId
    grant_id: str | None
    task_id: str | None
    agent_id: str | None
    owner: str
    target: str
    scope: str
    catalogue_digest: str
    handle: Handle
    end_class: Proof
    state: LeaseState
    fence: int
    requested_ttl: timedelta
    granted_ttl: timedelta
    cut_by: str
    created_at: datetime
    mint_until: datetime
    second_tap_at: datetime
    due_at: datetime | None
    expires_at: datetime
    backend_expires_at: datetime
    activated_at: datetime | None = None
    back_ref: str | None = None
    fingerprints: tuple[str, ...] = ()
    tries: int = 0
    last_error: str | None = None
    end_reason: str | None = None
    ending_since: datetime | None = None
    ended_at: datetime | None = None
    proof: Proof | None = None
    seen_outside: bool = False
    renewable_for: timedelta | None = None
    renewable_until: datetime | None = None
    renewals: int = 0
    ack_by: datetime | None = None
    acknowledged_at: datetime | None = None
    fenced_at: datetime | None = None
    denied_at: datetime | None = None
    denied_how: DeniedHow | None = None
    written_off_by: str | None = None
    written_off_reason: str | None = None

    @property
    def place(self) -> str | None:
        """Where its back end is told to refuse it, for those that can only be refused."""
        return self.handle.place

    @property
    def still_valid_until(self) -> datetime | None:
        """Until when the credential may still work: None once its end is proven."""
        return None if self.state is LeaseState.ENDED else self.backend_expires_at

    @property
    def renew_by(self) -> datetime | None:
        """Before when a renewal must be asked for; None when none could be had."""
        until = self.renewable_until
        if self.state is not LeaseState.ACTIVE or until is None or until <= self.expires_at:
            return None
        return self.expires_at - min(RENEWAL_MARGIN, self.granted_ttl / 10)

    def activated(
        self, now: datetime, backend_expires_at: datetime, back_ref: str, prints: tuple[str, ...]
    ) -> Lease:
        """Minted and wanted: the mint is known to be over, so no second tap is owed."""
        expires_at = min(backend_expires_at, now + self.granted_ttl)
        return replace(
            self,
            state=LeaseState.ACTIVE,
            activated_at=now,
            expires_at=expires_at,
            backend_expires_at=backend_expires_at,
            second_tap_at=now,
            due_at=expires_at,
            back_ref=back_ref,
            fingerprints=prints,
            seen_outside=True,
            renewable_until=now + self.renewable_for if self.renewable_for is not None else None,
        )

    def no_longer_than(self, instant: datetime) -> Lease:
        """The same active lease, acted on by then: its task's clock bounds its own."""
        sooner = min(self.expires_at, instant)
        life = min(self.renewable_until, instant) if self.renewable_until else None
        return _looked_at_next(replace(self, expires_at=sooner, renewable_until=life))

    def to_be_acknowledged(self, within: timedelta | None) -> Lease:
        """The same lease, just activated, which ends unless its asker says so soon that it came."""
        if within is None or self.activated_at is None:
            return self
        return _looked_at_next(replace(self, ack_by=self.activated_at + within))

    def acknowledged(self, now: datetime) -> Lease:
        """Its asker has the credential; only an active lease takes note, and only once."""
        if self.state is not LeaseState.ACTIVE or self.acknowledged_at is not None:
            return self
        return _looked_at_next(replace(self, acknowledged_at=now))

    def renewing(self, now: datetime, longest: timedelta, patience: Patience) -> Lease:
        """About to be renewed: from now on it may live as long as the latest renewal could make it.

        `longest` is what the back end may make of the time it is asked for. When we act stays as
        it is, until the back end has said yes.
        """
        over = now + patience.mint_limit + patience.second_tap
        return replace(
            self,
            renewals=self.renewals + 1,
            second_tap_at=max(self.second_tap_at, over),
            backend_expires_at=max(self.backend_expires_at, over + longest),
        )

    def renewal_over(self, before: Lease, backend_expires_at: datetime) -> Lease:
        """The renewal that began with `before` is over, and no other has begun: back to what is so.

        What an earlier one may still do is in `before`, and stays.
        """
        return replace(
            self,
            second_tap_at=before.second_tap_at,
            backend_expires_at=max(before.backend_expires_at, backend_expires_at),
        )

    def renewed(self, until: datetime) -> Lease:
        """Alive until then, and acted on then; never shorter than it was, never past its ends."""
        ends = [self.backend_expires_at, self.renewable_until or until, until]
        return _looked_at_next(replace(self, expires_at=max(self.expires_at, min(ends))))

    def unacknowledged(self, now: datetime) -> bool:
        """True when its asker should have said by now that it came, and has not."""
        return self.ack_by is not None and self.acknowledged_at is None and now >= self.ack_by

    def fenced(self, at: datetime) -> Lease:
        """The same active lease, whose credential itself allows nothing from then on."""
        return replace(self.no_longer_than(at), fenced_at=at)

    def ending(self, reason: str, now: datetime) -> Lease:
        """On its way out, due now; a lease already ending or ended stays as it is."""
        if self.state not in LIVE:
            return self
        return replace(
            self,
            state=LeaseState.ENDING,
            end_reason=reason,
            ending_since=now,
            due_at=now,
            tries=0,
        )

    def looked_at_now(self, reason: str, now: datetime) -> Lease:
        """Ending for this reason or for the one it has, and due now."""
        return replace(self.ending(reason, now), due_at=now)

    def taken_away(self, reason: str) -> Lease:
        """Ending or ended for a reason after which another may be given: not any more."""
        taken = self.state not in LIVE and self.end_reason in LOST
        return replace(self, end_reason=reason) if taken else self

    def written_off(self, by: str, reason: str, now: datetime) -> Lease:
        """A named person answers for it, with a reason, where nobody could end it."""
        named = replace(self, written_off_by=by, written_off_reason=reason)
        return named.ended(Proof.WRITTEN_OFF, now)

    def claimed(self, until: datetime | None) -> Lease:
        """Claimed for its first try: it comes due again at this instant if that sweep dies."""
        return replace(self, due_at=until, tries=1)

    def seen(self) -> Lease:
        """Our own look found it outside, or could not rule that out: its end must be verified."""
        return replace(self, seen_outside=True)

    def only_claimed_since(self, earlier: Lease) -> bool:
        """True when nothing but sweeps touched it since: what one of them found still holds.

        An end may take longer than its claim. Were its outcome dropped for that, a slow back end
        would have every lease claimed again for ever, and none of them ended or stuck.
        """
        return self.state in {LeaseState.ENDING, LeaseState.STUCK} and self == replace(
            earlier,
            state=self.state,
            fence=self.fence,
            due_at=self.due_at,
            tries=self.tries,
            last_error=self.last_error,
            end_reason=self.end_reason,
            seen_outside=self.seen_outside,
        )

    def tapped_once(self) -> Lease:
        """Gone for now, but a mint may still be in flight: look again after the quiet time."""
        return replace(self, due_at=self.second_tap_at, tries=0, last_error=None)

    def waits_for_expiry(self, until: datetime) -> Lease:
        """It cannot be cut: come back when its real end has passed."""
        later = max(until, self.backend_expires_at)
        return replace(self, due_at=later, backend_expires_at=later, tries=0, last_error=None)

    def denied(self, until: datetime, how: DeniedHow, now: datetime) -> Lease:
        """Refused at our word from now on, which is no end: that is waited for."""
        waits = self.waits_for_expiry(until)
        return replace(waits, denied_at=self.denied_at or now, denied_how=self.denied_how or how)

    def allowed_again(self, now: datetime) -> Lease:
        """Somebody undid our word: it is due at once, and not refused until it is found to be."""
        return replace(self, denied_at=None, denied_how=None, due_at=now, tries=0)

    def ended(self, proof: Proof, now: datetime) -> Lease:
        """Over, and this is how we know."""
        return replace(
            self,
            state=LeaseState.ENDED,
            proof=proof,
            ended_at=now,
            due_at=None,
            last_error=None,
        )

    def failed(self, error: str, now: datetime, patience: Patience, jitter: float) -> Lease:
        """Ending failed: back off with jitter in [0,1), never stop, STUCK after the threshold."""
        since = self.ending_since or now
        worn = self.tries >= patience.stuck_after_tries or now - since >= patience.stuck_after
        stuck = worn or self.state is LeaseState.STUCK
        step = patience.first_retry * 2 ** min(self.tries, 12) * (0.5 + jitter)
        return replace(
            self,
            state=LeaseState.STUCK if stuck else LeaseState.ENDING,
            last_error=error[:240],
            due_at=now + min(step, patience.longest_retry),
        )

    def reappeared(self, now: datetime) -> Lease:
        """Something was found outside for an ended lease: the only way out of ENDED."""
        return replace(
            self,
            state=LeaseState.ENDING,
            end_reason=REAPPEARED,
            ending_since=now,
            proof=None,
            ended_at=None,
            due_at=now,
            tries=0,
            seen_outside=True,
            written_off_by=None,
            written_off_reason=None,
        )


def _looked_at_next(lease: Lease) -> Lease:
    """Due when we act on it, or sooner while an acknowledgement is awaited."""
    waits = lease.ack_by if lease.acknowledged_at is None else None
    return replace(lease, due_at=min(lease.expires_at, waits or lease.expires_at))
