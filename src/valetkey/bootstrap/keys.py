"""Our signing keys in a running replica: turned by the clock, told to history and to the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from valetkey.core.errors import StoreUnavailable
from valetkey.flows.tell_keys import Signing, lacking, note_signing, tell_taken, tell_unusable
from valetkey.identity.key_ring import KeyFiles, KeyRing
from valetkey.ports import Broker
from valetkey.settings import Settings

SKEW = timedelta(minutes=1)


def key_files(settings: Settings) -> KeyFiles:
    """Where our keys are, and how long what they sign may live: as long as a task at most."""
    return KeyFiles(
        first=settings.signing_key_file,
        folder=settings.signing_key_folder,
        retired=settings.retired_key_files,
        kept=settings.times.longest_task + settings.times.token_life + SKEW,
    )


@dataclass
class TurningKeys:
    """The keys of this replica, and which of them it has told that it signs with."""

    ring: KeyRing
    lasting: timedelta
    _told: str = field(default="")

    @classmethod
    def opened(cls, settings: Settings) -> TurningKeys:
        """Read the keys; raises OSError or ValueError when they cannot be used."""
        lasting = 2 * settings.times.reload_every
        return cls(KeyRing(key_files(settings), datetime.now(UTC)), lasting)

    def turn(self, broker: Broker) -> None:
        """Read the files again and take the key whose time has come, by the database's clock."""
        problem = self.ring.turn(broker.store.now())
        signing = self._signing()
        note_signing(broker, signing, self.lasting)
        if signing.kid != self._told:
            tell_taken(broker, signing)
            self._told = signing.kid
        if problem is not None:
            tell_unusable(broker, problem)

    def problem(self, broker: Broker) -> str | None:
        """Why tokens of other replicas would be refused here; None when they are not."""
        try:
            unknown = lacking(broker, self._signing(), self.ring.kids())
        except StoreUnavailable:
            return None  # which is told of the database
        if not unknown:
            return None
        return f"another replica signs with a key that is not here: {', '.join(sorted(unknown))}"

    def _signing(self) -> Signing:
        return Signing(self.ring.kid, self.ring.since)
