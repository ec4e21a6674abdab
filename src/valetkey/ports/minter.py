"""The minter's port: whoever makes credentials for one kind of target, and ends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Proof
from valetkey.core.outside import Ending, Found, Lapse, Minted, Presence, Renewed
from valetkey.ports.outside import Deadline


class Minter(Protocol):
    """Makes credentials for one kind of target, and ends them."""

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """What the credential will be called outside; pure, so known before the mint."""

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """The best proof that the end of such a credential can have."""

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Make it. The deadline is checked before each outside call; nothing is ever cancelled.

        Raises MinterRefused, MinterUnavailable or OutcomeUnknown; after each of them the
        credential may exist. After NotAsked alone it surely does not, and never will.
        """

    def renews(self, wanted: CataloguedScope) -> bool:
        """Whether such a credential can be renewed."""

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Let it live for `ttl` from now, by the reference of its mint; else as `mint`."""

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """End it; idempotent; not found is Gone. Raises MinterUnavailable or MinterRefused."""

    def probe(self, handle: Handle) -> Presence:
        """Look inside the target. Raises MinterUnavailable when it cannot look now."""

    def targets(self) -> Sequence[str]:
        """The targets at which it can look for what carries a mark."""

    def found(self, target: str) -> Iterator[Found]:
        """Everything at one target that carries a mark. Raises MinterUnavailable."""

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """Its end as the back end itself tells it; None when it knows none or cannot say.

        Raises MinterUnavailable.
        """

    def skew(self, target: str) -> timedelta:
        """How far the clocks there are from the database's, at most. Raises MinterUnavailable."""

    def claim(self) -> Sequence[str]:
        """Leave our installation's name at each unclaimed target; the targets newly claimed."""

    def problem(self) -> str | None:
        """Why it cannot mint now, for readiness; None when it can."""

    def longest_life(self, ttl: timedelta) -> timedelta:
        """How long the back end may keep alive what is asked for so long."""

    def reassert(self, *, renew: bool = True) -> Sequence[Lapse]:
        """Look again at every refusal it relies on; what lapsed is renewed first, unless not to be.

        Costs little where nothing is refused. Raises MinterUnavailable or MinterRefused.
        """
