"""What people do inside the target while their credential ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import psycopg
import pytest

from tests.faults.ground import (
    WRITE,
    Ground,
    ask_for,
    get,
    lease_of,
    operator,
    start,
    until_ended,
    until_true,
)
from tests.faults.rows import row
from valetkey.bootstrap import House
from valetkey.core.errors import Killed
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.kill import kill, release_kill
from valetkey.flows.request_credential import request_credential


@row("F29")
def test_an_open_session_drops_when_its_task_ends(ground: Ground, house: House) -> None:
    """Ending a task cuts the session itself, and the proof is our own look."""
    bot = ground.bot(house)
    task = start(house, bot)
    secret = get(house, bot, ask_for(task)).secret.reveal()
    with ground.connect(secret) as session:
        assert session.execute("SELECT count(*) FROM orders").fetchone() == (18,)
        receipt = end_task(house.broker, bot, task.id)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert receipt.complete
    assert [lease.proof for lease in receipt.leases] == [Proof.VERIFIED]
    assert ground.refuses(secret)


class Stubborn:
    """A client that logs in again and again, four at a time, whatever happens."""

    def __init__(self, ground: Ground, secret: Mapping[str, object]) -> None:
        self.got_in = 0
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[ground, secret]) for _ in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give up."""
        self._done.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, ground: Ground, secret: Mapping[str, object]) -> None:
        while not self._done.is_set():
            try:
                with ground.connect(secret) as session:
                    session.execute("SELECT count(*) FROM orders")
                    self.got_in += 1
            except psycopg.OperationalError:
                pass


def test_a_client_that_reconnects_in_a_loop_stays_out(ground: Ground, house: House) -> None:
    """It got in before the end and never after the proof, however often it tries."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    stubborn = Stubborn(ground, issued.secret.reveal())
    try:
        until_true(lambda: stubborn.got_in >= 4, 10)
        end_task(house.broker, bot, task.id)
        assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED
        after = stubborn.got_in
        assert ground.refuses(issued.secret.reveal())
    finally:
        stubborn.stop()
    assert stubborn.got_in - after <= 4  # what each client was counting at that instant


def test_an_expired_credential_loses_its_open_session(ground: Ground, house: House) -> None:
    """At its time it is ended like any other: the session drops, the proof is verified."""
    bot = ground.bot(house)
    issued = get(house, bot, ask_for(start(house, bot), ttl=2))
    with ground.connect(issued.secret.reveal()) as session:
        ended = until_ended(house, issued.lease.id)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert (ended.end_reason, ended.proof) == ("expired", Proof.VERIFIED)


@row("F28", "F30")
def test_a_role_that_others_depend_on_is_stuck_until_a_human_helps(ground: Ground) -> None:
    """F28: login and sessions are cut at once, the SQLSTATE is told, others end; then it ends."""
    with ground.house(stuck_after=1) as house:
        house.clockwork.start()
        bot = ground.bot(house)
        task, other = start(house, bot), start(house, bot)
        issued = get(house, bot, ask_for(task, WRITE))
        neighbour = get(house, bot, ask_for(other))
        name = issued.lease.handle.name
        ground.look(f'CREATE DATABASE held OWNER "{name}"')
        try:
            with ground.connect(issued.secret.reveal()) as session:
                end_task(house.broker, bot, task.id)
                with pytest.raises(psycopg.OperationalError):
                    session.execute("SELECT 1")
            assert ground.refuses(issued.secret.reveal())
            until_true(lambda: lease_of(house, issued.lease.id).state is LeaseState.STUCK, 15)
            problem = lease_of(house, issued.lease.id).last_error
            assert problem == "minter_refused: the target refused (SQLSTATE 2BP01)"
            assert house.lanes.shut() == []
            assert end_task(house.broker, bot, other.id).complete
            assert lease_of(house, neighbour.lease.id).proof is Proof.VERIFIED
            tries = lease_of(house, issued.lease.id).tries
            until_true(lambda: lease_of(house, issued.lease.id).tries > tries, 10)
        finally:
            ground.look("DROP DATABASE held")
        assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED
        ground.at_peace(house)


def test_what_a_role_owned_goes_with_it(ground: Ground, house: House) -> None:
    """A scope that names no heir leaves nothing behind: what its role came to own is dropped."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task, WRITE))
    name = issued.lease.handle.name
    ground.look(f'CREATE TABLE left_over (id int); ALTER TABLE left_over OWNER TO "{name}"')
    assert end_task(house.broker, bot, task.id).complete
    assert ground.look("SELECT to_regclass('left_over')") == [(None,)]


def test_a_kill_of_everything_cuts_every_session(ground: Ground, house: House) -> None:
    """Under the kill nothing is minted; sessions drop; after the release work goes on."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = [get(house, bot, ask_for(task)) for _ in range(6)]
    sessions = [ground.connect(one.secret.reveal()) for one in issued[:3]]
    ordered = kill(house.broker, operator("opal"), Height.EVERYTHING, "", "a drill")
    try:
        with pytest.raises(Killed):
            request_credential(house.broker, bot, ask_for(task))
        for one in issued:
            assert until_ended(house, one.lease.id).proof is Proof.VERIFIED
        for session in sessions:
            with session, pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
    finally:
        fresh = operator("otto", fresh_for=f"release:{ordered.id}")
        release_kill(house.broker, fresh, ordered.id)
    assert get(house, bot, ask_for(task)).lease.state is LeaseState.ACTIVE
    end_task(house.broker, bot, task.id)
