"""What was used before, across replicas and restarts: the memory behind every once-only proof."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Uses(Protocol):
    """What has been used or revoked; each call is a commit of its own."""

    def first_use(self, slot: str, key: str, until: datetime, unless: str = "") -> bool:
        """True the first time a key is seen in a slot, across replicas.

        With `unless`, the id of a token of ours, False once that token was revoked; nothing is
        used up then. It is one statement either way.
        """

    def pin(self, key: str, jkt: str, until: datetime) -> str:
        """The key thumbprint first pinned to this."""

    def is_revoked(self, token_id: str) -> bool:
        """Whether the token of ours with this `jti` was revoked before its end."""
