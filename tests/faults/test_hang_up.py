"""Clients that hang up, and servers that are told to stop, while a credential is made."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.faults.ground import (
    GLANCE,
    Ground,
    lease_of,
    leases_of_task,
    until_ended,
    until_true,
)
from tests.faults.rows import row
from tests.faults.served import Served, Visitor, serving
from valetkey.bootstrap import House
from valetkey.core.lease import LeaseState, Proof

ROUNDS = int(os.environ.get("VALETKEY_FAULT_ROUNDS", "1"))


@pytest.fixture
def served(ground: Ground) -> Iterator[Served]:
    """The real server as a process."""
    with serving(ground) as served:
        yield served


@row("F09")
def test_clients_that_hang_up_at_any_moment_leave_nothing(
    ground: Ground, house: House, served: Served
) -> None:
    """Mints run to their end whoever left; every lease is on record and ends with its task."""
    chance = random.Random(20260102)
    for _ in range(ROUNDS):
        visitors = [served.visitor(ground.bot(house)) for _ in range(3)]
        tasks = [visitor.start() for visitor in visitors]
        threads = [
            threading.Thread(target=leave_often, args=[house, visitor, task, chance])
            for visitor, task in zip(visitors, tasks, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        until_true(lambda asked=tasks: not _minting(house, asked), 20)
        written = [lease for task in tasks for lease in leases_of_task(house, task)]
        assert any(lease.state is LeaseState.ACTIVE for lease in written)
        for visitor, task in zip(visitors, tasks, strict=True):
            status, receipt = visitor.call("POST", f"/v1/tasks/{task}/end")
            assert status in {200, 202}, receipt
        ground.at_peace(house)


@row("F09")
def test_what_a_client_left_behind_ends_where_its_scope_wants_to_hear_of_it(
    ground: Ground, house: House, served: Served
) -> None:
    """Nobody speaks of what was left, and it ends; what is acknowledged in time lives."""
    visitor = served.visitor(ground.bot(house))
    task = visitor.start()
    visitor.hang_up(task, 0.0, GLANCE, lambda: len(leases_of_task(house, task)) == 1)
    status, given = visitor.ask(task, GLANCE)
    assert status == 201, given
    kept = given["lease"]["id"]
    assert given["lease"]["ack_by"] is not None
    assert visitor.call("POST", f"/v1/leases/{kept}/ack")[1]["acknowledged_at"] is not None
    until_true(lambda: len(leases_of_task(house, task)) == 2, 20)
    (left,) = (x.id for x in leases_of_task(house, task) if x.id != kept)
    ended = until_ended(house, left)
    assert (ended.end_reason, ended.proof) == ("unacknowledged", Proof.VERIFIED)
    assert lease_of(house, kept).state is LeaseState.ACTIVE
    visitor.call("POST", f"/v1/tasks/{task}/end")
    ground.at_peace(house)


def leave_often(house: House, visitor: Visitor, task: str, chance: random.Random) -> None:
    """Ask a dozen times, and hang up each time before or after the answer; once surely in time."""
    for _ in range(11):
        visitor.hang_up(task, chance.random() * 0.04)
    before = len(leases_of_task(house, task))
    visitor.hang_up(task, 0.0, begun=lambda: len(leases_of_task(house, task)) > before)


def test_a_server_told_to_stop_finishes_what_it_mints(
    ground: Ground, house: House, served: Served
) -> None:
    """SIGTERM under askers: it exits by itself, and what it made is on record and ends."""
    visitor = served.visitor(ground.bot(house))
    task = visitor.start()
    leaver = threading.Thread(target=visitor.hang_up, args=[task, 0.01])
    leaver.start()
    leaver.join(10)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=20) in {0, -signal.SIGTERM}
    assert not _minting(house, [task])


def _minting(house: House, tasks: list[str]) -> list[str]:
    leases = [lease for task in tasks for lease in leases_of_task(house, task)]
    return [lease.id for lease in leases if lease.state is LeaseState.MINTING]
