"""What a transaction keeps of sealed answers: ciphertext, for two minutes, and nothing else."""

from __future__ import annotations

from typing import Protocol

from valetkey.core.sealing import SealedAnswer


class SealedAnswers(Protocol):
    """The ciphertext of active leases, one for each lease at most."""

    def keep_sealed(self, answer: SealedAnswer) -> None:
        """Keep one, in the transaction that makes its lease active."""

    def sealed(self, lease_id: str) -> SealedAnswer | None:
        """What is kept for a lease, also when its time is over and nobody has forgotten it yet."""
