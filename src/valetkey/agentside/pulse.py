"""A thread that beats for one task while the work is done."""

from __future__ import annotations

from typing import Any, Protocol

from valetkey.agentside.beside import Beside
from valetkey.agentside.wire import Answer, Refusal

PART = 0.5
"""Of the declared heartbeat, after which the next beat is made."""


class Beating(Protocol):
    """What a pulse needs of the client."""

    def heartbeat(self, task_id: str, fence: int) -> dict[str, Any]:
        """Beat once."""

    def call(self, method: str, path: str) -> Answer:
        """Any call."""


class Pulse(Beside):
    """Beats until the block is left, or until the broker says that it is of no use.

    It is then that the task has ended, or that somebody else beats for it.
    """

    name = "pulse"

    def __init__(self, broker: Beating, task: dict[str, Any]) -> None:
        super().__init__()
        self._broker, self._task = broker, str(task["id"])
        self._fence = int(task["fence"])
        self._every = PART * float(task["heartbeat"])

    def _wait(self) -> float:
        return self._every

    def _passes(self, no: Refusal) -> bool:
        return no.status >= 500 or no.status == 429

    def _once(self) -> None:
        """Beat once; a beat of ours whose answer was lost is known by its fence."""
        try:
            self._fence = int(self._broker.heartbeat(self._task, self._fence)["fence"])
        except Refusal as no:
            if no.code != "stale_heartbeat":
                raise
            now = int(self._broker.call("GET", f"/v1/tasks/{self._task}").body["fence"])
            if now != self._fence + 1:
                raise
            self._fence = now
