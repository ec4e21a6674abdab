"""OpenBao and Postgres sealed, killed and stopped while credentials are issued and ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping

import pytest

from tests.faults.ground import Ground, ask_for, end_everything, get, start, until_true
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError
from valetkey.flows.end_task import end_task


class Churn:
    """Clients that ask and end as fast as they can, and keep what they received."""

    def __init__(self, ground: Ground, house: House, clients: int = 4) -> None:
        self.secrets: list[Mapping[str, object]] = []
        self.codes: list[str] = []
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[ground, house]) for _ in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._done.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, ground: Ground, house: House) -> None:
        bot = None
        while not self._done.is_set():
            try:
                bot = bot or ground.bot(house)
                task = start(house, bot)
                self.secrets.append(get(house, bot, ask_for(task)).secret.reveal())
                end_task(house.broker, bot, task.id)
            except BrokerError as error:
                self.codes.append(error.code)
                self._done.wait(0.05)


@pytest.fixture
def churn(ground: Ground, house: House) -> Iterator[Churn]:
    """Clients at work."""
    churn = Churn(ground, house)
    yield churn
    churn.stop()


def test_what_openbao_forgot_when_it_was_killed_is_ended_too(
    ground: Ground, house: House, churn: Churn
) -> None:
    """SIGKILLed under minters it leaves roles in the target that it has no lease for; they go."""
    for _ in range(4):
        enough = len(churn.secrets) + 8
        until_true(lambda n=enough: len(churn.secrets) >= n, 30)
        pid = ground.stack.supervisor.pids()["openbao"]
        os.kill(pid, signal.SIGKILL)
        until_true(lambda p=pid: ground.stack.supervisor.pids()["openbao"] != p, 30)
    churn.stop()
    end_everything(house)
    ground.at_peace(house, within=40)
    assert all(ground.refuses(secret) for secret in churn.secrets)
