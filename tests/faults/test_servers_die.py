"""OpenBao and Postgres sealed, killed and stopped while credentials are issued and ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping

import pytest

from tests.faults.ground import Ground, ask_for, end_everything, get, start, until_ended, until_true
from tests.faults.rows import row
from tests.faults.standing import Asker, stopped
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError, MinterUnavailable, StoreUnavailable
from valetkey.core.lease import Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential


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


@row("F17")
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


@row("F11")
def test_a_postgres_killed_under_issuers_loses_nothing(
    ground: Ground, house: House, churn: Churn
) -> None:
    """Our database and the target die together, again and again; all that was out ends."""
    for _ in range(2):
        enough = len(churn.secrets) + 8
        until_true(lambda n=enough: len(churn.secrets) >= n, 30)
        pid = ground.stack.supervisor.pids()["postgres"]
        os.kill(pid, signal.SIGKILL)
        until_true(lambda p=pid: ground.stack.supervisor.pids()["postgres"] != p, 30)
    churn.stop()
    until_true(lambda: house.problems() == [], 20, lambda: str(house.problems()))
    end_everything(house)
    ground.at_peace(house, within=40)
    assert "store_unavailable" in churn.codes
    assert all(ground.refuses(secret) for secret in churn.secrets)


@row("F21")
def test_a_sealed_openbao_says_so_and_ends_later(ground: Ground, house: House) -> None:
    """Sealed it mints nothing, the answer says when to come back, and endings wait for it."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    root = ground.stack.openbao.as_root()
    root.call("PUT", "sys/seal", {})
    try:
        with pytest.raises(MinterUnavailable) as refused:
            request_credential(house.broker, bot, ask_for(task))
        assert refused.value.retry_after
        assert any("sealed" in problem for problem in house.problems())
        assert not end_task(house.broker, bot, task.id).complete
        assert not ground.refuses(issued.secret.reveal())
    finally:
        ground.stack.openbao.after_ready()
    assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED


@row("F20")
def test_a_stopped_openbao_holds_nobody_for_ever(ground: Ground, house: House) -> None:
    """Every process of it stands still while one asks: an answer comes, and all ends."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    with stopped(ground.stack.supervisor.pids()["openbao"]):
        asker = Asker(house, bot, task)
        asker.thread.join(10)
        assert asker.code == "outcome_unknown"
    end_task(house.broker, bot, task.id)
    assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED


@row("F38", "F39")
def test_a_stopped_postgres_is_given_up_and_recovers(ground: Ground) -> None:
    """It takes connections and says nothing: who asks is told so in time, and later all ends."""
    with ground.house(database_answer=1) as house:
        house.clockwork.start()
        bot = ground.bot(house)
        task = start(house, bot)
        issued = get(house, bot, ask_for(task))
        with stopped(ground.stack.supervisor.pids()["postgres"]):
            askers = [Asker(house, bot, task) for _ in range(4)]
            for asker in askers:
                asker.thread.join(20)
            assert [asker.code for asker in askers] == ["store_unavailable"] * 4
            with pytest.raises(StoreUnavailable):
                end_task(house.broker, bot, task.id)
            assert house.problems() != []
        until_true(lambda: house.problems() == [], 20, lambda: str(house.problems()))
        end_task(house.broker, bot, task.id)
        assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED
        ground.at_peace(house)
