"""Tell of our signing keys: which one signs, and whether another replica signs with one we lack."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from valetkey.core.facts import FactKind
from valetkey.flows.tell_rules import tell_once
from valetkey.ports import Broker

SIGNS: Final = "signs"


@dataclass(frozen=True)
class Signing:
    """The key that a replica signs with, and from when, if its file says."""

    kid: str
    since: datetime | None

    @property
    def rank(self) -> str:
        """Sorts by time; a key without one comes before all others."""
        return self.since.isoformat() if self.since else "-"


def tell_taken(broker: Broker, signing: Signing) -> None:
    """This key signs here from now on."""
    body = {"kid": signing.kid}
    if signing.since is not None:
        body["since"] = signing.since.isoformat()
    tell_once(broker, FactKind.SIGNING_KEY_TAKEN, body)


def tell_unusable(broker: Broker, problem: str) -> None:
    """The files cannot be used, and the keys read before stay: a fact and an alarm."""
    if tell_once(broker, FactKind.SIGNING_KEYS_REFUSED, {"problem": problem}, "refused"):
        broker.notifier.alarm("the newest signing keys were refused", {"why": problem})


def note_signing(broker: Broker, signing: Signing, lasting: timedelta) -> None:
    """Say to the other replicas, for so long at least, that this one signs with this key."""
    now = broker.store.now()
    turn = int(now.timestamp() // lasting.total_seconds())
    said = f"{turn} {signing.rank} {signing.kid}"
    broker.store.first_use(SIGNS, said, now + 2 * lasting)


def lacking(broker: Broker, signing: Signing, published: Set[str]) -> frozenset[str]:
    """Keys, no older than our own, with which some replica signs now, and which we do not publish.

    An older one may have been taken away on purpose, and its replica is the one that is behind.
    """
    said = (entry.split(" ") for entry in broker.store.used(SIGNS))
    return frozenset(kid for _, rank, kid in said if rank >= signing.rank) - published
