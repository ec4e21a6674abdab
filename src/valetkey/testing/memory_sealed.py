"""The memory store's sealed answers."""

from __future__ import annotations

from valetkey.core.sealing import SealedAnswer
from valetkey.testing.memory_tasks import _State


class MemorySealed:
    """What a transaction of the memory store keeps of sealed answers."""

    @property
    def _state(self) -> _State:
        raise NotImplementedError

    def keep_sealed(self, answer: SealedAnswer) -> None:
        assert answer.lease_id in self._state.leases, "foreign key"
        assert answer.lease_id not in self._state.sealed_answers, "primary key"
        self._state.sealed_answers[answer.lease_id] = answer

    def sealed(self, lease_id: str) -> SealedAnswer | None:
        return self._state.sealed_answers.get(lease_id)
