"""What the simulated store keeps of sealed answers."""

from __future__ import annotations

from typing import cast

from valetkey.core.sealing import SealedAnswer
from valetkey.testing.sim_session import SimSession


class SimSealed(SimSession):
    """Part of the Transaction port; whoever writes here holds the lease's row."""

    def keep_sealed(self, answer: SealedAnswer) -> None:
        self._insert("sealed_answers", answer)

    def sealed(self, lease_id: str) -> SealedAnswer | None:
        return cast("SealedAnswer | None", self._row("sealed_answers", lease_id, 0))
