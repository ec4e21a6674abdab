"""Real servers beside each other on one database: one dies or stands still, another goes on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.faults.ground import Ground, leases_of_task, operator, until_ended, until_true
from tests.faults.rows import row
from tests.faults.served import Served, Visitor, serving
from valetkey.bootstrap import FAILPOINT, House
from valetkey.core.facts import FactKind, HistoryQuery
from valetkey.core.lease import Lease, Proof
from valetkey.flows.end_task import end_task

DEADLY = ("sweep.claimed", "end.role_deleted", "sweep.tapped")
STILL = {
    "mint.role_written": FactKind.MINT_FAILED,
    "issue.minted": FactKind.LEASE_WITHHELD,
}
ENDED_UNHEARD = {Proof.VERIFIED, Proof.NEVER_EXISTED}


@pytest.fixture
def healthy(ground: Ground) -> Iterator[House]:
    """A broker that does not tick before it is told to; afterwards nothing is out."""
    with ground.house() as house:
        yield house
        ground.at_peace(house)


@row("F06", "I15")
def test_servers_killed_while_they_end_leave_it_to_another(ground: Ground, healthy: House) -> None:
    """Three servers die at three steps of an ending; a fourth proves the end of all they had."""
    received: list[dict[str, Any]] = []
    with ExitStack() as each:
        servers = [each.enter_context(serving(ground, **{FAILPOINT: step})) for step in DEADLY]
        tasks = []
        for server in servers:
            visitor = server.visitor(ground.bot(healthy))
            tasks.append((visitor, visitor.start()))
            received += [_given(visitor, tasks[-1][1]) for _ in range(3)]
        for visitor, task in tasks:
            _end_unheard(visitor, task)
        until_true(lambda: all(server.process.poll() is not None for server in servers), 20)
        assert [server.process.returncode for server in servers] == [-signal.SIGKILL] * 3
    healthy.clockwork.start()
    for answer in received:
        assert until_ended(healthy, answer["lease"]["id"]).proof is Proof.VERIFIED
        assert ground.refuses(answer["credential"])


@row("F08", "I5")
def test_servers_frozen_while_they_mint_hand_out_nothing(ground: Ground, healthy: House) -> None:
    """Another ends their leases with proof; resumed they withhold what they hold; it is ended."""
    healthy.clockwork.start()
    with ExitStack() as servers, ExitStack() as ice:
        tasks, answers = [], []
        for step in STILL:
            server = servers.enter_context(serving(ground, **{FAILPOINT: f"stop:{step}"}))
            visitor = server.visitor(ground.bot(healthy))
            tasks.append(visitor.start())
            ask = partial(visitor.ask, tasks[-1])
            answers.append(ice.enter_context(frozen(server, ask)))
        for task in tasks:
            end_task(healthy.broker, operator(), task)
        for task in tasks:
            assert _only_lease_ended(healthy, task).proof in ENDED_UNHEARD
        ice.close()
        for task, ((status, answer),), fact in zip(tasks, answers, STILL.values(), strict=True):
            assert status >= 400 and "credential" not in answer, answer
            lease = _only_lease_ended(healthy, task)
            with healthy.store.transaction() as tx:
                facts = tx.history(HistoryQuery(lease_id=lease.id))
            kinds = {recorded.fact.kind for recorded in facts}
            assert fact in kinds and FactKind.LEASE_MINTED not in kinds


@row("F08", "I11")
def test_a_server_frozen_while_it_ends_says_nothing_late(ground: Ground, healthy: House) -> None:
    """Another ended it meanwhile: resumed, it finds itself overtaken, and the end is told once."""
    with serving(ground, **{FAILPOINT: "stop:sweep.tapped"}) as server:
        visitor = server.visitor(ground.bot(healthy))
        task = visitor.start()
        lease_id = _given(visitor, task)["lease"]["id"]
        with frozen(server, lambda: visitor.call("POST", f"/v1/tasks/{task}/end", {})):
            healthy.clockwork.start()
            assert until_ended(healthy, lease_id).proof is Proof.VERIFIED
        until_true(server.answers, 20)
        with healthy.store.transaction() as tx:
            told = tx.history(HistoryQuery(lease_id=lease_id, kind="LeaseEnded"))
        assert len(told) == 1


@contextmanager
def frozen(server: Served, call: Any) -> Iterator[list[Any]]:
    """Call in a thread, wait until the server stands still, and let it go on afterwards."""
    answer: list[Any] = []
    caller = threading.Thread(target=lambda: answer.append(call()))
    caller.start()
    status = Path(f"/proc/{server.process.pid}/status")
    try:
        until_true(lambda: "State:\tT" in status.read_text(), 20, lambda: server.log)
        yield answer
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        caller.join(40)
    assert not caller.is_alive()


def _only_lease_ended(house: House, task: str) -> Lease:
    (lease,) = leases_of_task(house, task)
    return until_ended(house, lease.id)


def _given(visitor: Visitor, task: str) -> dict[str, Any]:
    status, answer = visitor.ask(task)
    assert status == 201, answer
    return dict(answer)


def _end_unheard(visitor: Visitor, task: str) -> None:
    """End a task at a server that may die of it before it answers."""
    with suppress(urllib3.exceptions.HTTPError):
        visitor.call("POST", f"/v1/tasks/{task}/end", {})
