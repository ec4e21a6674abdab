"""Brokers killed before anything was written, and after everything was but the answer."""

from __future__ import annotations

import psycopg

from tests.faults.ground import (
    Ground,
    ask_for,
    caller_of,
    lease_of,
    leases_of_task,
    until_true,
)
from tests.faults.rows import row
from tests.faults.victims import Victim, followed, send_out
from valetkey.bootstrap import House
from valetkey.core.ask import Ask
from valetkey.core.errors import BrokerError
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Issued

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'valetkey'"
    " AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO grants%'"
)


@row("F01")
def test_a_broker_killed_before_its_first_commit_leaves_nothing(
    ground: Ground, house: House
) -> None:
    """The row was on its way and not committed: no lease, no grant, nothing at the back end."""
    with psycopg.connect(ground.stack.superuser_dsn("valetkey")) as holder:
        holder.execute("LOCK TABLE leases IN SHARE MODE")
        victim = send_out(ground, house, "issue")
        following = followed(ground, victim)
        until_true(lambda: ground.look(WAITING)[0][0] == 1, 20, lambda: victim.complaints)
        victim.process.kill()
        following.join(20)
    assert victim.died_by_kill()
    assert leases_of_task(house, victim.tasks[0]) == []
    grants = "SELECT count(*) FROM grants WHERE task_id = %s"
    assert ground.look(grants, victim.tasks[0], database="valetkey") == [(0,)]
    assert ground.roles() == []
    end_task(house.broker, *asker(house, victim))


@row("F05")
def test_what_a_killed_broker_did_not_answer_is_had_again_by_its_key(
    ground: Ground, house: House
) -> None:
    """Killed between the commit and the answer: the same key redelivers, the first is dead then."""
    victim = send_out(ground, house, "issue", "issue.activated")
    followed(ground, victim).join(60)
    assert victim.died_by_kill() and victim.secrets == []
    (undelivered,) = leases_of_task(house, victim.tasks[0])
    assert undelivered.state is LeaseState.ACTIVE
    bot, task_id = asker(house, victim)
    ask = ask_for(task_of(house, task_id), key="once")
    until_true(lambda: told_about(house, bot, ask) == undelivered.id, 5)
    again = request_credential(house.broker, bot, ask, redeliver=undelivered.id)
    assert isinstance(again, Issued)
    assert lease_of(house, undelivered.id).proof is Proof.VERIFIED
    assert ground.roles() == [again.lease.handle.name]
    assert not ground.refuses(again.secret.reveal())


def told_about(house: House, bot: Caller, ask: Ask) -> str:
    """The lease that a repeated ask is refused for."""
    try:
        request_credential(house.broker, bot, ask)
    except BrokerError as refused:
        return str(refused.extra.get("lease_id"))
    return ""


def asker(house: House, victim: Victim) -> tuple[Caller, str]:
    """The victim's own client, and its task."""
    task = task_of(house, victim.tasks[0])
    with house.store.transaction() as tx:
        agent = tx.agent(task.agent_id)
    assert agent is not None
    return caller_of(agent), task.id


def task_of(house: House, task_id: str) -> Task:
    """A task by its id."""
    with house.store.transaction() as tx:
        task = tx.task(task_id)
    assert task is not None
    return task
