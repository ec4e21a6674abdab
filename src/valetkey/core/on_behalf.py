"""On behalf of a person: what somebody lets one agent do for them, and until when.

A delegation is recorded here by that very person, with a login fresh for it, or by the person's
own token that names the agent (`may_act`, RFC 8693 section 4.4). It grants nothing by itself: the
agent needs a task of its own, and policy and boundaries judge it as ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from valetkey.core.ask import canonical_hash
from valetkey.core.delegation_refusals import DelegationEnded, OutsideDelegation
from valetkey.core.principal import Person as Person
from valetkey.core.scope import Scope, within_any

LOGIN: Final = "login"
MAY_ACT: Final = "may_act"
"""What a delegation rests on: a login of the person here, or their own token."""


@dataclass(frozen=True)
class Delegation:
    """One agent may act for one person, within these scopes, until then.

    `source` says what it rests on: `login` (given here) or `may_act` (the person's own token).
    """

    id: str
    person: Person
    agent_id: str
    scopes: tuple[Scope, ...]
    given_at: datetime
    until: datetime
    source: str = LOGIN
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether it gives authority now."""
        return self.withdrawn_at is None and now < self.until

    def holds(self, now: datetime) -> None:
        """Raise DelegationEnded when it gives no authority now."""
        if not self.is_live(now):
            raise DelegationEnded()

    def bounds(self, scopes: Iterable[Scope]) -> None:
        """Raise OutsideDelegation for a scope that the person did not delegate."""
        if not self.covers(scopes):
            raise OutsideDelegation()

    def covers(self, scopes: Iterable[Scope]) -> bool:
        """Whether all of these lie within what was delegated."""
        return all(within_any(scope, self.scopes) for scope in scopes)

    def withdrawn(self, by: str, at: datetime) -> Delegation:
        """The same, taken back; taking it back twice changes nothing."""
        if self.withdrawn_at is not None:
            return self
        return replace(self, withdrawn_at=at, withdrawn_by=by)


@dataclass(frozen=True)
class Offer:
    """What a person would let an agent do for them, before it is so."""

    agent_id: str
    scopes: tuple[Scope, ...]
    lasts: timedelta

    @property
    def fresh_name(self) -> str:
        """What a login must have been made for, to give exactly this (the OIDC `nonce`)."""
        said = {
            "agent": self.agent_id,
            "scopes": sorted({str(scope) for scope in self.scopes}),
            "seconds": int(self.lasts.total_seconds()),
        }
        return f"delegate:{canonical_hash(said)}"
