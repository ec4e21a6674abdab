"""A thread that does something again and again beside the work, until the work is done."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from valetkey.agentside.identity import NoIdentity
from valetkey.agentside.wire import Refusal, Unreachable


class Beside(ABC):
    """Works from the start of its block until that is left, or until the broker refuses for good.

    `lost` is the code of that refusal. What fails in passing is tried again the next time.
    """

    name: str

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.lost: str | None = None

    def __enter__(self) -> Self:
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

    @abstractmethod
    def _wait(self) -> float | None:
        """Seconds until the next time; None when there is none."""

    @abstractmethod
    def _once(self) -> None:
        """Do it."""

    @abstractmethod
    def _passes(self, no: Refusal) -> bool:
        """Whether it may go well the next time after this refusal."""

    def _run(self) -> None:
        while (wait := self._wait()) is not None and not self._over.wait(wait):
            try:
                self._once()
            except Refusal as no:
                if not self._passes(no):
                    self.lost = no.code
                    return
            except (Unreachable, NoIdentity):
                continue
