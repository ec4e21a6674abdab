"""On behalf of a person: what somebody lets one agent do for them, and until when.

A delegation is recorded here by that very person, with a login fresh for it, or by the person's
own token that names the agent (`may_act`, RFC 8693 section 4.4). It grants nothing by itself: the
agent needs a task of its own, and policy and boundaries judge it as ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from valetkey.core.ask import canonical_hash
from valetkey.core.delegation_refusals import DelegationEnded, OutsideDelegation
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope, within_any


@dataclass(frozen=True)
class Person:
    """Somebody whose own proof was verified: what it said then.

    `principal` is issuer and subject as one text, `email` is in small letters, `groups` are those
    that mean something here.
    """

    principal: str
    email: str
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, caller: Caller) -> Person | None:
        """Who the calling person is; None without a verified e-mail address."""
        if not caller.email:
            return None
        return cls(str(caller.principal), caller.email.casefold(), tuple(sorted(caller.groups)))

    def is_same(self, caller: Caller) -> bool:
        """Whether this is the calling person: by principal, or by mailbox."""
        own = (caller.email or "").casefold() == self.email
        return caller.kind == "person" and (own or str(caller.principal) == self.principal)


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
    source: str = "login"
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
