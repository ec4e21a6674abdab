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
class Caller:
    """A principal whose proof was verified, with what we know about it for this one request.

    `kind` says which doors are open: an agent has `agent_id`, `agent` (its name) and
    `binding_id`; a CI job has `rule`, the name of the trust rule that matched it; a person has
    `groups`, `roles` and perhaps `email`. `jkt` is the RFC 7638 thumbprint of the DPoP key that
    the token is bound to and that signed this request. `auth_time` is when the person logged in,
    and `fresh_for` the object that login was made for. `token_id` is the token's `jti`. With
    `details` the token is good for those asks only. With `x5t` the token is bound to the client
    certificate of that thumbprint instead (RFC 8705), and `jkt` is that of the certificate's key.
    `seals_to` is the thumbprint of the key that the proof of this request says its answer is to
    be sealed to, if it says so.
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

    @property
    def subject(self) -> str:
        """The `sub` and `client_id` of our tokens for this caller."""
        return self.agent_id or str(self.principal)

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
