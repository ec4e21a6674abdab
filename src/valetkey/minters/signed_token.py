"""Our own at+jwt for services that trust Valetkey (RFC 9068).

A target that introspects learns at once that a token was ended; an offline verifier accepts it
until it expires, and then its end is `expired`, never more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import NotRenewable, OutcomeUnknown
from valetkey.core.ids import LeaseId, Mark, short_digest
from valetkey.core.lease import Handle, Proof
from valetkey.core.secret import Secret
from valetkey.ports import (
    Deadline,
    Ending,
    Found,
    Gone,
    Lapse,
    LivesUntil,
    Minted,
    Presence,
    Renewed,
)

Sign = Callable[[Mapping[str, object]], str]


class SignedToken:
    """The minter whose back end is a signature; nothing exists outside but the token itself."""

    def __init__(
        self, sign: Sign, issuer: str, installation: str, now: Callable[[], datetime]
    ) -> None:
        self._sign, self._issuer = sign, issuer
        self._installation, self._now = installation, now

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """The token's `jti` is the mark; whether the target introspects is kept with it."""
        digest = short_digest(f"{wanted.scope} {wanted.target.audience}")
        mark = Mark.of(self._installation, digest, lease_id)
        where = {
            "audience": wanted.target.audience,
            "introspects": "yes" if wanted.target.introspects else "no",
        }
        return Handle("signed-token", wanted.target.name, str(mark), where)

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """Confirmed only where the target asks us."""
        return Proof.CONFIRMED if wanted.target.introspects else Proof.EXPIRED

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Sign a token of exactly this scope and life, for one audience.

        On behalf of a person `sub` is that person; `act` says which agents act, the current one
        outermost.
        """
        if deadline.left() <= 0:
            raise OutcomeUnknown("the attempt took too long and was given up", retry_after=5)
        now = int(self._now().astimezone(UTC).timestamp())
        seconds = int(ttl.total_seconds())
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": wanted.target.audience,
            "sub": handle.name,
            "client_id": handle.name,
            "jti": handle.name,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "scope": str(wanted.scope),
            **wanted.actors.claims(),
        }
        public = {"type": "jwt", "audience": wanted.target.audience, "expires_in": seconds}
        return Minted(Secret({"token": self._sign(claims)}, public), ttl, handle.name)

    def renews(self, wanted: CataloguedScope) -> bool:
        """A signature stands as it is: whoever needs more time asks for a new token."""
        return False

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Raises NotRenewable."""
        raise NotRenewable()

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """Introspection answers inactive from the moment the lease is ending; others must wait."""
        if handle.where.get("introspects") == "yes":
            return Gone()
        return LivesUntil(backend_expires_at)

    def probe(self, handle: Handle) -> Presence:
        """Nobody can look for a token."""
        return Presence.UNKNOWN

    def targets(self) -> list[str]:
        """None can be looked at."""
        return []

    def found(self, target: str) -> Iterator[Found]:
        """A signature leaves nothing behind to be found."""
        return iter(())

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """A signature cannot be asked."""
        return None

    def skew(self, target: str) -> timedelta:
        """There is one clock."""
        return timedelta(0)

    def claim(self) -> list[str]:
        """Nothing outside to claim."""
        return []

    def problem(self) -> str | None:
        """Always able."""
        return None

    def longest_life(self, ttl: timedelta) -> timedelta:
        """Exactly as long as asked."""
        return ttl

    def reassert(self, *, renew: bool = True) -> list[Lapse]:
        """Nothing is refused by being told so."""
        return []
