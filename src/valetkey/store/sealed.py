"""Sealed answers: ciphertext to an asker's own key, kept for two minutes and for active leases."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam

from valetkey.core.sealing import SealedAnswer
from valetkey.store.session import Session
from valetkey.store.tables import sealed_answers

FORGET: Final = """
DELETE FROM sealed_answers AS kept WHERE kept.until <= clock_timestamp()
    OR NOT EXISTS (SELECT FROM leases WHERE id = kept.lease_id AND state = 'active')
"""
_KEPT: Final = sealed_answers.select().where(sealed_answers.c.lease_id == bindparam("lease"))


class Kept(Session):
    """What may be fetched again."""

    def keep_sealed(self, answer: SealedAnswer) -> None:
        """Keep one with its lease."""
        self._insert(sealed_answers, vars(answer))

    def sealed(self, lease_id: str) -> SealedAnswer | None:
        """What is kept for a lease."""
        row = self._one(_KEPT, {"lease": lease_id})
        return SealedAnswer(**row) if row else None
