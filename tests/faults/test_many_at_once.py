"""Bursts: a kill among two hundred that ask at once, and far more requests than may be served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from tests.faults.ground import (
    Ground,
    ask_for,
    end_everything,
    get,
    leases_of,
    leases_of_task,
    operator,
    start,
    until_true,
)
from tests.faults.proxy import BaoProxy, between_bao
from tests.faults.rows import row
from tests.faults.served import serving
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError
from valetkey.core.kill import Height
from valetkey.core.lease import LIVE
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.kill import kill, kill_now, release_kill
from valetkey.flows.verdicts import Issued

ASKERS = 200
REQUESTS = 600


class Crowd:
    """Many that ask at the same moment, once each; what they received and what they were told."""

    def __init__(self, house: House, bot: Caller, task: Task) -> None:
        self.received: list[Issued] = []
        self.codes: list[str] = []
        self._gate = threading.Barrier(ASKERS)
        self._threads = [
            threading.Thread(target=self._ask, args=[house, bot, task]) for _ in range(ASKERS)
        ]
        for thread in self._threads:
            thread.start()

    def dispersed(self) -> None:
        """Wait until each has its answer."""
        for thread in self._threads:
            thread.join(60)

    def last_activated(self) -> datetime:
        """When the last credential that anybody received became active."""
        return max(x.lease.activated_at for x in self.received if x.lease.activated_at is not None)

    def _ask(self, house: House, bot: Caller, task: Task) -> None:
        self._gate.wait(30)
        try:
            self.received.append(get(house, bot, ask_for(task)))
        except BrokerError as refused:
            self.codes.append(refused.code)


@row("F36", "I7", "I8")
def test_a_kill_among_two_hundred_that_ask_at_once_leaves_nobody_with_anything(
    ground: Ground, house: House
) -> None:
    """Who received a credential had it before the kill; nothing is live after it, all is refused."""
    bot = ground.bot(house)
    task = start(house, bot)
    crowd = Crowd(house, bot, task)
    until_true(lambda: len(crowd.received) >= 10, 30, lambda: str(crowd.codes))
    ordered = kill(house.broker, operator(), Height.EVERYTHING, "", "a test")
    kill_now(house.broker, ordered)
    try:
        crowd.dispersed()
        assert len(crowd.received) + len(crowd.codes) == ASKERS
        assert "killed" in crowd.codes
        assert crowd.last_activated() < ordered.at
        assert [lease.id for lease in leases_of(house, task) if lease.state in LIVE] == []
        ground.at_peace(house, within=60)
    finally:
        fresh = operator("otto", fresh_for=f"release:{ordered.id}")
        release_kill(house.broker, fresh, ordered.id)
    with ThreadPoolExecutor(8) as many:
        assert all(many.map(ground.refuses, [one.secret.reveal() for one in crowd.received]))


@pytest.fixture
def proxy(ground: Ground) -> Iterator[BaoProxy]:
    """Ours, between the server and OpenBao, which notes what it is asked."""
    with between_bao(ground.stack.openbao.port) as proxy:
        yield proxy


@row("F45", "I19")
def test_a_burst_is_shed_before_anything_is_minted(
    ground: Ground, house: House, proxy: BaoProxy
) -> None:
    """Beyond the rate and the ceiling it is 429 with a time to wait; OpenBao hears of none of it."""
    limits = {
        "VALETKEY_LIMITS__RATE": "20",
        "VALETKEY_LIMITS__BURST": "60",
        "VALETKEY_LIMITS__LEASES_PER_TASK": "5",
        "VALETKEY_OPENBAO__ADDRESS": proxy.address,
    }
    with serving(ground, **limits) as served:
        visitor = served.visitor(ground.bot(house))
        task = visitor.start()
        with ThreadPoolExecutor(8) as many:
            answers = list(many.map(visitor.ask, [task] * REQUESTS))
        issued = [told for status, told in answers if status == 201]
        shed = [told for status, told in answers if status == 429]
        assert len(issued) == 5
        assert len(issued) + len(shed) == REQUESTS
        assert all(told["retry_after"] > 0 for told in shed)
        written = [line for line in proxy.seen if line.startswith("POST /v1/database-orders/roles")]
        assert len(written) == len(leases_of_task(house, task)) == 5
        end_everything(house)

