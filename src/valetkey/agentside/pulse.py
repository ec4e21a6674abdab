"""A thread that beats for one task while the work is done."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Protocol

from valetkey.agentside.identity import NoIdentity
from valetkey.agentside.wire import Answer, Refusal, Unreachable

PART = 0.5
"""Of the declared heartbeat, after which the next beat is made."""


class Beating(Protocol):
    """What a pulse needs of the client."""

    def heartbeat(self, task_id: str, fence: int) -> dict[str, Any]:
        """Beat once."""

    def call(self, method: str, path: str) -> Answer:
        """Any call."""


class Pulse:
    """Beats until the block is left, or until the broker says that it is of no use.

    `lost` is the code of that refusal: the task has ended, or somebody else beats for it.
    """

    def __init__(self, broker: Beating, task: dict[str, Any]) -> None:
        self._broker, self._task = broker, str(task["id"])
        self._fence = int(task["fence"])
        self._every = PART * float(task["heartbeat"])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self.lost: str | None = None

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            try:
                self._beat()
            except Refusal as no:
                if no.status < 500 and no.status != 429:
                    self.lost = no.code
                    return
            except (Unreachable, NoIdentity):
                continue  # the next beat may get through

    def _beat(self) -> None:
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
