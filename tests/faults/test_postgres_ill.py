"""Our own database slow at every commit, unwritable history, connections that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy.exc import ProgrammingError

from tests.faults.ground import (
    Ground,
    ask_for,
    get,
    lease_of,
    leases_of,
    operator,
    start,
    until_ended,
    until_true,
)
from tests.faults.proxy import PostgresProxy
from tests.faults.rows import row
from tests.faults.standing import Asker
from valetkey.bootstrap import House
from valetkey.core.errors import StoreUnavailable
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease


@row("F14")
def test_a_commit_slower_than_a_mint_may_take_hands_out_nothing(
    ground: Ground, wire: PostgresProxy, house: House
) -> None:
    """Two seconds for each commit, one for the mint: all are refused, and the pool is whole."""
    with ground.house(database_port=wire.port, mint_limit=1) as slow:
        bot = ground.bot(house)
        task = start(slow, bot)
        wire.delay = 2.0
        askers = [Asker(slow, bot, task) for _ in range(14)]
        for asker in askers:
            asker.thread.join(60)
        wire.delay = 0.0
        assert "issued" not in {asker.code for asker in askers}
        assert ground.roles() == []
        assert all(x.activated_at is None for x in leases_of(house, task))
        assert slow.problems() == []
        assert get(slow, bot, ask_for(task)).lease.state is LeaseState.ACTIVE


@contextmanager
def history_closed(ground: Ground) -> Iterator[None]:
    """Nobody may add a fact meanwhile."""
    ground.look("REVOKE INSERT ON facts FROM valetkey_app", database="valetkey")
    try:
        yield
    finally:
        ground.look("GRANT INSERT ON facts TO valetkey_app", database="valetkey")


@row("F15")
def test_without_history_nothing_is_issued_and_what_is_ending_ends(ground: Ground) -> None:
    """No fact, no credential; an ending under way is done all the same, and recorded later."""
    with ground.house() as house:
        bot = ground.bot(house)
        task = start(house, bot)
        ending, expiring = get(house, bot, ask_for(task)), get(house, bot, ask_for(task, ttl=1))
        revoke_lease(house.broker, operator(), ending.lease.id)
        until_true(lambda: ground.refuses(expiring.secret.reveal()), 12)
        with history_closed(ground):
            with pytest.raises((ProgrammingError, psycopg.errors.InsufficientPrivilege)):
                request_credential(house.broker, bot, ask_for(task))
            assert len(leases_of(house, task)) == 2
            house.clockwork.start()
            until_true(lambda: ground.refuses(ending.secret.reveal()), 10)
            assert lease_of(house, ending.lease.id).state is LeaseState.ENDING
        assert until_ended(house, ending.lease.id).proof is Proof.VERIFIED
        ground.at_peace(house)


@row("F39")
def test_connections_that_lead_nowhere_are_given_up_and_made_anew(
    ground: Ground, wire: PostgresProxy, house: House
) -> None:
    """Nothing is refused and nothing arrives: whoever waits is told so, and then all goes on."""
    with ground.house(database_port=wire.port, database_answer=1) as lost:
        bot = ground.bot(house)
        task = start(lost, bot)
        issued = get(lost, bot, ask_for(task))
        wire.hole = True
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                request_credential(lost.broker, bot, ask_for(task))
        wire.hole = False
        until_true(lambda: lost.problems() == [], 10, lambda: str(lost.problems()))
        assert end_task(lost.broker, bot, task.id).complete
        assert ground.refuses(issued.secret.reveal())
