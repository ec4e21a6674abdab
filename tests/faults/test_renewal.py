"""Renewals on real servers: what is killed, lost or raced on the way ends, and the record knows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest

from tests.faults.ground import (
    Ground,
    ask_for,
    get,
    leases_of_task,
    operator,
    start,
    until_ended,
    until_true,
)
from tests.faults.rows import row
from tests.faults.victims import followed, send_out
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError
from valetkey.core.kill import Height
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.flows.end_task import end_task
from valetkey.flows.kill import kill, release_kill
from valetkey.flows.renew import renew
from valetkey.flows.revoke import revoke_lease

LIFE = timedelta(minutes=10)
STEPS = ("renew.written", "renew.renewed")
OVER = ("lease_ended", "task_ended", "killed")
UNTIL = "SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s"


def real_end(ground: Ground, lease: Lease) -> datetime:
    """When the target lets the role in no more, as the superuser sees it."""
    ((until,),) = ground.look(UNTIL, lease.handle.name)
    assert isinstance(until, datetime)
    return until


def bao_end(ground: Ground, lease: Lease) -> datetime:
    """When OpenBao's own lease ends, as root sees it."""
    bao = ground.stack.openbao.as_root()
    told = bao.write("sys/leases/lookup", lease_id=lease.back_ref)["data"]["expire_time"]
    return datetime.fromisoformat(str(told).replace("Z", "+00:00")[:26] + "+00:00")


@row("F07", "I3")
def test_brokers_killed_while_they_renewed_leave_records_that_are_late_never_early(
    ground: Ground, house: House
) -> None:
    """N1 and N2: the record covers what is out there, we act when we would have, all of it ends."""
    victims = [send_out(ground, house, "renew", step) for step in STEPS]
    for following in [followed(ground, victim) for victim in victims]:
        following.join(60)
    for victim in victims:
        assert victim.died_by_kill(), victim.complaints
        (left,) = leases_of_task(house, victim.tasks[0])
        assert (left.state, left.renewals) == (LeaseState.ACTIVE, 1)
        assert real_end(ground, left) <= left.backend_expires_at
        assert bao_end(ground, left) <= left.backend_expires_at
        assert left.activated_at is not None
        assert left.expires_at <= left.activated_at + left.granted_ttl
    for victim in victims:
        end_task(house.broker, operator(), victim.tasks[0])
    ground.at_peace(house)
    for victim in victims:
        (ended,) = leases_of_task(house, victim.tasks[0])
        assert ended.proof is Proof.VERIFIED
        assert all(ground.refuses(secret) for secret in victim.secrets)
        assert victim.still_open() == 0


@row("I3")
def test_a_renewed_credential_lives_on_and_ends_in_time(ground: Ground, house: House) -> None:
    """VALID UNTIL and OpenBao's lease move with it; the same session goes on; then all is over."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task, ttl=3, renewable_for=timedelta(seconds=8)))
    lease, first = issued.lease, real_end(ground, issued.lease)
    with ground.connect(issued.secret.reveal()) as session:
        until_true(lambda: datetime.now(UTC) > lease.activated_at + timedelta(seconds=1), 5)  # type: ignore[operator]
        longer = renew(house.broker, bot, lease.id)
        assert longer.expires_at > lease.expires_at
        assert first < real_end(ground, longer) <= longer.backend_expires_at
        assert bao_end(ground, longer) <= longer.backend_expires_at
        until_true(lambda: datetime.now(UTC) > lease.expires_at, 10)
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert until_ended(house, lease.id, within=20).end_reason == "expired"
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert ground.refuses(issued.secret.reveal())
    ground.at_peace(house)


def revokes(house: House, bot: Caller, lease: Lease) -> None:
    """An operator revokes it."""
    revoke_lease(house.broker, operator(), lease.id)


def ends_task(house: House, bot: Caller, lease: Lease) -> None:
    """Its agent ends its task."""
    end_task(house.broker, bot, lease.task_id or "")


def kills_and_releases(house: House, bot: Caller, lease: Lease) -> None:
    """One operator kills it, another releases that at once."""
    ordered = kill(house.broker, operator(), Height.LEASE, lease.id, "a race")
    fresh = operator("odd", fresh_for=f"release:{ordered.id}")
    release_kill(house.broker, fresh, ordered.id)


def renews_until_told(house: House, bot: Caller, lease: Lease, told: list[str]) -> None:
    """As fast as one can, until there is nothing to renew."""
    for _ in range(400):
        try:
            renew(house.broker, bot, lease.id)
            told.append("renewed")
        except BrokerError as refused:
            told.append(refused.code)
            if refused.code in OVER:
                return


@row("F35", "I7", "I8")
def test_renewals_that_race_an_ending_bring_nothing_back(ground: Ground, house: House) -> None:
    """Two renewers for each of three credentials, and who stops it: it stays stopped."""
    stories: list[tuple[Lease, list[str], Callable[[], None]]] = []
    racers: list[threading.Thread] = []
    for stop in (revokes, ends_task, kills_and_releases):
        bot = ground.bot(house)
        lease = get(house, bot, ask_for(start(house, bot), ttl=20, renewable_for=LIFE)).lease
        told: list[str] = []
        renewing = partial(renews_until_told, house, bot, lease, told)
        racers += [threading.Thread(target=renewing) for _ in range(2)]
        stories.append((lease, told, partial(stop, house, bot, lease)))
    for racer in racers:
        racer.start()
    for _, told, stops in stories:
        until_true(lambda t=told: t.count("renewed") >= 2, 20, lambda t=told: str(t))
        stops()
    for racer in racers:
        racer.join(30)
    for lease, told, _ in stories:
        assert told[-1] in OVER, told
        assert until_ended(house, lease.id).proof is Proof.VERIFIED
        end_task(house.broker, operator(), lease.task_id or "")
    ground.at_peace(house)
