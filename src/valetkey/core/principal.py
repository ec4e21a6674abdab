"""Who is calling: the result of verifying a proof of identity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from valetkey.core.detail import Detail
from valetkey.core.errors import InvalidDpopProof, OutsideToken
from valetkey.core.scope import Scope

Kind = Literal["agent", "person", "ci"]

ROLES: Final = frozenset({"operator", "approver", "auditor"})


@dataclass(frozen=True)
class Principal:
    """Anything that can be authenticated: issuer (its `iss`) and subject, compared exactly."""

    issuer: str
    subject: str

    def __str__(self) -> str:
        return f"{self.issuer} {self.subject}"


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
class Acting:
    """The person for whom a token's agent acts; `said_at` is when the person's own token was made.

    `until` is how long the person's token itself lets the agent act (`may_act`); None where it
    does not, and only delegations recorded here do.
    """

    person: Person
    said_at: datetime
    until: datetime | None = None


@dataclass(frozen=True)
class Caller:
    """A principal whose proof was verified, with what we know about it for this one request.

    `kind` says which doors are open: an agent has `agent_id`, `agent` (its name) and
    `binding_id`; a CI job has `rule`, the name of the trust rule that matched it; a person has
    `groups`, `roles` and perhaps `email`. `jkt` is the RFC 7638 thumbprint of the DPoP key that
    the token is bound to and that signed this request. `auth_time` is when the person logged in,
    and `fresh_for` the object that login was made for. `token_id` is the token's `jti`. With
    `details` the token is good for those asks only, with `acting` for what is done for that person.
    With `x5t` the token is bound to the client certificate of that thumbprint instead (RFC 8705),
    and `jkt` is that of the certificate's key. `seals_to` is the thumbprint of the key that the
    proof of this request says its answer is to be sealed to, if it says so.
    """

    kind: Kind
    principal: Principal
    jkt: str
    expires_at: datetime
    token_id: str
    agent_id: str | None = None
    agent: str | None = None
    binding_id: str | None = None
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    email: str | None = None
    auth_time: datetime | None = None
    fresh_for: str | None = None
    rule: str | None = None
    details: tuple[Detail, ...] = ()
    x5t: str | None = None
    seals_to: str | None = None
    acting: Acting | None = None

    @property
    def client_id(self) -> str:
        """Who holds our tokens for this caller: their `client_id`."""
        return self.agent_id or str(self.principal)

    @property
    def subject(self) -> str:
        """Whose authority they are: the `sub` of our tokens, a person's where one is acted for."""
        return self.acting.person.principal if self.acting else self.client_id

    def acts_for(self, principal: str | None) -> None:
        """Raise OutsideToken when the token is for acting for somebody, and this is not theirs."""
        if self.acting is not None and self.acting.person.principal != principal:
            raise OutsideToken()

    def bounds(
        self, task_id: str, scope: Scope, ttl: timedelta, grant_id: str | None = None
    ) -> None:
        """Raise OutsideToken when the token was given for other asks, or for another grant."""
        asked = (task_id, scope, ttl, grant_id)
        if self.details and not any(one.covers(*asked) for one in self.details):
            raise OutsideToken()

    def signed_for(self, thumbprint: str | None) -> None:
        """Raise InvalidDpopProof when the proof was made for sealing to another key than this."""
        if self.seals_to is not None and self.seals_to != thumbprint:
            raise InvalidDpopProof("the proof names another key to seal to than the request")

    def is_whole(self) -> None:
        """Raise OutsideToken when the token was given for certain asks, and so for nothing else."""
        if self.details:
            raise OutsideToken()

    def has_role(self, role: str) -> bool:
        """Whether a group of this caller is mapped to that role."""
        return role in self.roles
