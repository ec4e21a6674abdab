"""Keeps a list of children alive: start in order, restart with back-off, stop in reverse.

One process supervises. It polls, because that needs no threads and no signal tricks. A child
that died is started again after 0.2 s, doubling to 5 s while it keeps dying; what must happen
after each start (unsealing) is the child's own `after_ready`.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from valetkey.devstack import process
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.process import Running

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
STEADY = 10.0
"""A child that lived this long (seconds) starts from the shortest back-off again."""


class Service(Protocol):
    """One child: how it is started, when it is ready, what follows."""

    @property
    def name(self) -> str:
        """What it is called in records, logs and `state.json`."""

    @property
    def stop_signal(self) -> signal.Signals:
        """The signal that asks it to end cleanly."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process and return at once."""

    def ready(self, pid: int) -> bool:
        """Tell whether the process `pid`, and not somebody else, serves."""

    def after_ready(self) -> None:
        """Do what each fresh start needs."""


class NotReady(Exception):
    """A child did not become ready in time; the text names it and its log file."""


@dataclass
class _Slot:
    service: Service
    child: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    pause: float = FIRST_PAUSE
    retry_at: float = 0.0
    restarts: int = 0


@dataclass
class Supervisor:
    """The children of one data folder. `on_change` is called after each start of a child."""

    folder: DataFolder
    on_change: Callable[[], None] = lambda: None
    _slots: list[_Slot] = field(default_factory=list)

    def start_all(self, services: Sequence[Service], *, within: float = 60.0) -> None:
        """Start `services` side by side and wait until all are ready.

        Raises NotReady when one is not within `within` seconds; those started stay ours to stop.
        """
        slots = [_Slot(service) for service in services]
        self._slots.extend(slots)
        failed: list[Exception] = []

        def bring_up(slot: _Slot) -> None:
            try:
                self._start(slot, within)
            except Exception as error:  # noqa: BLE001  carried over to the caller's thread
                failed.append(error)

        threads = [threading.Thread(target=bring_up, args=[slot]) for slot in slots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def pids(self) -> dict[str, int]:
        """Return the pid of each child that was started."""
        return {slot.service.name: slot.child.pid for slot in self._slots if slot.child}

    def restarts(self) -> dict[str, int]:
        """Return how often each child was started again."""
        return {slot.service.name: slot.restarts for slot in self._slots}

    def tend(self) -> None:
        """Look at every child once, and start again what died and whose pause is over."""
        for slot in self._slots:
            if slot.child is None or slot.child.poll() is not None:
                self._revive(slot)

    def stop_all(self) -> None:
        """Stop every child, last started first; returns when all are gone."""
        for slot in reversed(self._slots):
            self._end(slot)
        self._slots.clear()

    def _revive(self, slot: _Slot) -> None:
        now = time.monotonic()
        if slot.retry_at == 0.0:
            if now - slot.since > STEADY:
                slot.pause = FIRST_PAUSE
            slot.retry_at = now + slot.pause
            slot.pause = min(slot.pause * 2, LONGEST_PAUSE)
            log.warning("%s died; starting it again", slot.service.name)
        if now < slot.retry_at:
            return
        slot.retry_at = 0.0
        slot.restarts += 1
        try:
            self._try_once(slot, now + 20.0)
        except Exception as error:  # noqa: BLE001  the next round tries again, for ever
            log.warning("%s did not come back yet: %s", slot.service.name, error)
            self._end(slot)

    def _start(self, slot: _Slot, within: float) -> None:
        """Try until the child is ready: PostgreSQL refuses for 1 to 2 s after a SIGKILL."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self._try_once(slot, deadline)
            except NotReady:
                self._end(slot)
                if time.monotonic() > deadline:
                    raise
            time.sleep(FIRST_PAUSE)

    def _try_once(self, slot: _Slot, deadline: float) -> None:
        service = slot.service
        slot.child = service.spawn()
        slot.since = time.monotonic()
        if not self._became_ready(slot, deadline):
            raise NotReady(
                f"{service.name} is not ready; see {self.folder.logs}/{service.name}.log"
            )
        service.after_ready()
        self.on_change()

    def _became_ready(self, slot: _Slot, deadline: float) -> bool:
        child = slot.child
        assert child is not None
        while child.poll() is None and time.monotonic() < deadline:
            if slot.service.ready(child.pid):
                return True
            time.sleep(0.03)
        return False

    def _end(self, slot: _Slot) -> None:
        child, slot.child = slot.child, None
        if child is None:
            return
        if child.poll() is None:
            started = process.start_time(child.pid)
            if started is not None:
                process.stop(Running(child.pid, started), slot.service.stop_signal)
            child.wait()
        process.forget(self.folder, slot.service.name, child.pid)
