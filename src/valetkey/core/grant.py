"""Grants: a decision made durable. Approvals: a named human's yes or no on one waiting grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from valetkey.core.errors import (
    AlreadyDecided,
    ApprovalTimedOut,
    ApprovalVoid,
    DeniedByPerson,
    StillWaiting,
)
from valetkey.core.sealing import SealTo

KEY_LIVES = timedelta(hours=24)
"""How long after the end of its lease an idempotency key still means its grant."""


class GrantState(StrEnum):
    """Where a grant stands. GRANTED means leases may have been made under it."""

    WAITING = "waiting"
    APPROVED = "approved"
    GRANTED = "granted"
    REFUSED = "refused"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    WITHDRAWN = "withdrawn"
    VOID = "void"


@dataclass(frozen=True)
class Grant:
    """This caller, this task, this scope, for so long: decided, waiting or refused.

    `renewable_for` is how long in all renewals may keep its credential alive, None without any.
    Whatever is given under it is sealed to `seal_to`, if the ask named a key.
    """

    id: str
    task_id: str
    agent_id: str
    scope: str
    ask_hash: str
    idempotency_key: str
    state: GrantState
    requested_ttl: timedelta
    granted_ttl: timedelta
    cut_by: str
    requester_jkt: str
    decision_id: str
    created_at: datetime
    waits_until: datetime
    reason: str = ""
    needs: tuple[tuple[str, int], ...] = ()
    shown: Mapping[str, object] | None = None
    shown_hash: str | None = None
    refusal_code: str | None = None
    lease_id: str | None = None
    generation: int = 0
    renewable_for: timedelta | None = None
    seal_to: SealTo | None = None

    def waits(self, now: datetime) -> None:
        """Raise AlreadyDecided or ApprovalTimedOut unless people may still decide."""
        if self.state is not GrantState.WAITING:
            raise AlreadyDecided()
        if now >= self.waits_until:
            raise ApprovalTimedOut()

    def may_be_collected(self, now: datetime) -> None:
        """Raise the reason why an approved grant cannot be collected now."""
        if self.state is GrantState.WAITING:
            raise ApprovalTimedOut() if now >= self.waits_until else StillWaiting(retry_after=2)
        if self.state is GrantState.APPROVED:
            if now >= self.waits_until:
                raise ApprovalTimedOut()
            return
        raise {
            GrantState.DENIED: DeniedByPerson,
            GrantState.TIMED_OUT: ApprovalTimedOut,
            GrantState.VOID: ApprovalVoid,
        }.get(self.state, AlreadyDecided)()

    def without_key(self) -> Grant:
        """The same grant, which no key of an asker means any more; keys have no spaces."""
        return replace(self, idempotency_key=f"forgotten {self.id}")

    def moved(self, state: GrantState) -> Grant:
        """The same grant in another state."""
        return replace(self, state=state)


@dataclass(frozen=True)
class Approval:
    """One person's verdict, bound to the hash of what that person saw."""

    id: str
    grant_id: str
    approver: str
    groups: tuple[str, ...]
    verdict: str
    shown_hash: str
    logged_in_at: datetime
    at: datetime


def approvals_by_group(
    needs: tuple[tuple[str, int], ...], approvals: tuple[Approval, ...]
) -> dict[str, int]:
    """Count the yeses for each group a grant waits for; one person counts for one group only.

    Whoever is in several of them counts where most are missing still. An address in two
    spellings is one person.
    """
    counts = {group: 0 for group, _ in needs}
    wanted = dict(needs)
    said_yes = {a.approver.casefold(): a for a in approvals if a.verdict == "approve"}.values()
    for approval in sorted(said_yes, key=lambda a: (len(counts.keys() & set(a.groups)), a.id)):
        fitting = [group for group in counts if group in approval.groups]
        if fitting:
            counts[max(fitting, key=lambda group: wanted[group] - counts[group])] += 1
    return counts
