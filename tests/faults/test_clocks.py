"""Clocks that are wrong and jump: the broker's, our database's, the target's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.faults.aside import Apart, Clock
from tests.faults.aside import apart as apart
from tests.faults.aside import clock as clock
from tests.faults.ground import (
    Ground,
    ask_for,
    end_everything,
    get,
    lease_of,
    start,
    until_ended,
    until_true,
)
from tests.faults.rows import row
from tests.faults.served import serving
from valetkey.core.errors import MinterUnavailable
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.doctor import doctor

HOUR = 3600


@row("F31")
@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_broker_whose_clock_jumps_ends_at_the_databases_time(
    ground: Ground, clock: Clock, ahead: int
) -> None:
    """It alone ticks: before the jump and after it a lease ends when Postgres says."""
    with ground.house() as house, serving(ground, **clock.environment) as served:
        visitor = served.visitor(ground.bot(house))
        task = visitor.start()
        status, before = visitor.ask(task)
        assert status == 201, before
        clock.move(ahead)
        status, after = visitor.ask(task, ttl=2)
        assert status == 201, after
        ended = until_ended(house, after["lease"]["id"])
        assert ended.ended_at is not None
        assert timedelta(0) <= ended.ended_at - ended.expires_at < timedelta(seconds=8)
        assert lease_of(house, before["lease"]["id"]).state is LeaseState.ACTIVE
        end_everything(house)
        ground.at_peace(house)


@row("F32")
def test_a_database_whose_clock_jumps_makes_us_unready_and_lengthens_nothing(
    apart: Apart,
) -> None:
    """We say so and issue nothing; what is out ends no later at its target than it would have."""
    ground, clock = apart.ground, apart.clock
    with ground.house(database_port=apart.database.port) as house:
        house.clockwork.start()
        until_true(lambda: house.problems() == [], 10, lambda: str(house.problems()))
        bot = ground.bot(house)
        for ahead in (HOUR, -HOUR):
            issued = get(house, bot, ask_for(start(house, bot), ttl=3))
            clock.move(ahead)
            until_true(lambda: any("clock" in x for x in house.problems()), 5)
            until_true(lambda secret=issued.secret: ground.refuses(secret.reveal()), 12)
            if ahead < 0:
                with pytest.raises(MinterUnavailable):
                    get(house, bot, ask_for(start(house, bot), ttl=3))
                assert lease_of(house, issued.lease.id).state is LeaseState.ACTIVE
            clock.move(0)
            until_true(lambda: house.problems() == [], 5, lambda: str(house.problems()))
            assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED
        ground.at_peace(house)


@row("F33", "I17")
def test_a_target_whose_clock_is_behind_keeps_nobody_in(apart: Apart, clock: Clock) -> None:
    """Its `VALID UNTIL` comes ten minutes late; we say so, and drop the role in time."""
    ground = apart.ground
    clock.move(-600)
    with ground.house(database_port=apart.database.port) as house:
        house.clockwork.start()
        bot = ground.bot(house)
        with restarted(ground, clock.environment):
            until_true(lambda: house.problems() == [], 15, lambda: str(house.problems()))
            issued = get(house, bot, ask_for(start(house, bot), ttl=2))
            assert ground.look("SELECT now() < %s", issued.lease.created_at) == [(True,)]
            assert until_ended(house, issued.lease.id, within=10).proof is Proof.VERIFIED
            assert ground.refuses(issued.secret.reveal())
            assert {found.invariant for found in doctor(house.broker)} == {"I17"}
        until_true(lambda: doctor(house.broker) == [], 20)
        ground.at_peace(house)


@contextmanager
def restarted(ground: Ground, environment: Mapping[str, str]) -> Iterator[None]:
    """The ground's Postgres, which the target is on, with this environment meanwhile."""
    _restart(ground, environment)
    try:
        yield
    finally:
        _restart(ground, {})


def _restart(ground: Ground, environment: Mapping[str, str]) -> None:
    supervisor = ground.stack.supervisor
    ground.stack.postgres.environment = environment
    pid = supervisor.pids()["postgres"]
    os.kill(pid, signal.SIGINT)
    until_true(lambda: supervisor.pids()["postgres"] != pid, 30)
    until_true(lambda: ground.stack.postgres.ready(supervisor.pids()["postgres"]), 30)
