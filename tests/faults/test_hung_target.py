"""A target that hangs: it is left alone, others go on, and nothing that is due is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.faults.ground import (
    Ground,
    ask_for,
    end_everything,
    get,
    lease_of,
    leases_of,
    operator,
    until_ended,
    until_true,
)
from tests.faults.proxy import PostgresProxy
from tests.faults.rows import row
from tests.faults.second import SECOND_READ
from valetkey.bootstrap import House
from valetkey.core.errors import MinterUnavailable
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.start_task import Plan, start_task


@pytest.fixture
def line(both: tuple[Ground, PostgresProxy]) -> PostgresProxy:
    """The line to the second target."""
    return both[1]


@pytest.fixture
def pair(both: tuple[Ground, PostgresProxy]) -> Iterator[House]:
    """A ticking broker of two targets; afterwards the line flows and everything has ended."""
    ground, line = both
    with ground.house() as house:
        house.clockwork.start()
        until_true(lambda: house.problems() == [], 10)
        yield house
        line.thaw()
        end_everything(house)
        ground.at_peace(house)


def task_of(house: House, bot: Caller) -> Task:
    """A task for both targets."""
    with house.store.transaction() as tx:
        agent = tx.agent(bot.agent_id or "")
        assert agent is not None
        tx.save_agent(replace(agent, boundary=(*agent.boundary, Scope("second-db", "read"))))
    scopes = tuple(Scope(name, "read") for name in ("orders-db", "second-db"))
    return start_task(house.broker, bot, Plan("a refund", scopes, timedelta(minutes=20)))


def worst(house: House, bot: Caller, task: Task, asks: int) -> float:
    """The time of the slowest of so many asks of the healthy target, in seconds."""
    times = []
    for _ in range(asks):
        began = time.monotonic()
        get(house, bot, ask_for(task))
        times.append(time.monotonic() - began)
    return max(times)


def left_alone(house: House) -> bool:
    """The second target is."""
    return "second-db" in house.lanes.shut()


@row("F27", "I16")
def test_a_hung_target_is_left_alone_and_slows_no_other(
    both: tuple[Ground, PostgresProxy], line: PostgresProxy, pair: House
) -> None:
    """20 due on it: never more than 8 calls, asks refused unwritten; the healthy one goes on."""
    ground, bot = both[0], both[0].bot(pair)
    task = task_of(pair, bot)
    due = [get(pair, bot, ask_for(task, SECOND_READ)).lease for _ in range(20)]
    usual = worst(pair, bot, task, 15)
    line.freeze()
    for lease in due:
        revoke_lease(pair.broker, operator(), lease.id)
    began = time.monotonic()
    until_true(lambda: left_alone(pair), 20)
    noticed = time.monotonic() - began
    meanwhile = worst(pair, bot, task, 40)
    before = len(leases_of(pair, task))
    with pytest.raises(MinterUnavailable) as refused:
        request_credential(pair.broker, bot, ask_for(task, SECOND_READ))
    assert refused.value.retry_after
    assert len(leases_of(pair, task)) == before
    assert pair.problems() == []
    waiting = [lease_of(pair, lease.id) for lease in due]
    assert all(x.state is not LeaseState.ENDED for x in waiting)
    print(f"healthy worst {usual:.3f} s, with one hung {meanwhile:.3f} s; noticed in {noticed:.1f} s")
    assert meanwhile < 5 * usual + 0.5
    line.thaw()
    assert all(until_ended(pair, lease.id).proof is Proof.VERIFIED for lease in due)
    calls = pair.lanes.traffic()["second-db"]
    assert (calls.most <= 8, pair.lanes.most() <= 48, calls.shut) == (True, True, False)
    assert ground.roles()  # those of the healthy one live on until their task ends


@row("F26", "I12")
def test_what_was_due_at_a_target_that_was_down_ends_soon_after_its_return(
    both: tuple[Ground, PostgresProxy], line: PostgresProxy, pair: House
) -> None:
    """Down, it is left alone and tried with one ending at a time; back, all that is due ends."""
    bot = both[0].bot(pair)
    task = task_of(pair, bot)
    due = [get(pair, bot, ask_for(task, SECOND_READ)).lease for _ in range(12)]
    line.cut()
    for lease in due:
        revoke_lease(pair.broker, operator(), lease.id)
    until_true(lambda: left_alone(pair), 20)
    tries = sum(lease_of(pair, lease.id).tries for lease in due)
    until_true(lambda: sum(lease_of(pair, x.id).tries for x in due) >= tries + 2, 20)
    assert any(lease_of(pair, lease.id).state is not LeaseState.ENDED for lease in due)
    line.mend()
    began = time.monotonic()
    assert all(until_ended(pair, lease.id).proof is Proof.VERIFIED for lease in due)
    gone = time.monotonic() - began
    print(f"gone {gone:.1f} s after the return")
    assert gone < 15
