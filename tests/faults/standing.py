"""Servers that stand still (SIGSTOP), and somebody who asks meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.ground import ask_for, get
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError
from valetkey.core.principal import Caller
from valetkey.core.task import Task


class Asker:
    """A client in a thread of its own, and the code that it got."""

    def __init__(self, house: House, bot: Caller, task: Task) -> None:
        self.code = ""
        self.thread = threading.Thread(target=self._ask, args=[house, bot, task])
        self.thread.start()

    def _ask(self, house: House, bot: Caller, task: Task) -> None:
        try:
            get(house, bot, ask_for(task))
            self.code = "issued"
        except BrokerError as error:
            self.code = error.code


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP a server of ours with all its processes, and let it go on afterwards."""
    family = [pid, *children(pid)]
    for member in family:
        os.kill(member, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in family:
            os.kill(member, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
