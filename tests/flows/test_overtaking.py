"""Stories of races: what ends while its own mint is still running is never handed out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.flows.stories import facts, kinds, lease_now, leases, sweep_until_quiet
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    Killed,
    LeaseEnded,
    OutcomeUnknown,
    TaskEnded,
)
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.task import Task
from valetkey.flows.agents import disable_agent
from valetkey.flows.end_task import end_task, receipt
from valetkey.flows.kill import enforce_kills, kill
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage


def revokes(stage: Stage, task: Task) -> None:
    """The operator revokes the newest lease."""
    revoke_lease(stage.broker, stage.operator, leases(stage)[0].id)


def ends_task(stage: Stage, task: Task) -> None:
    """The agent ends its task."""
    end_task(stage.broker, stage.bot, task.id)


def kills_agent(stage: Stage, task: Task) -> None:
    """The operator kills the agent."""
    kill(stage.broker, stage.operator, Height.AGENT, stage.agent.id, "odd")


def kills_all(stage: Stage, task: Task) -> None:
    """The operator kills everything."""
    kill(stage.broker, stage.operator, Height.EVERYTHING, "", "odd")


def disables_agent(stage: Stage, task: Task) -> None:
    """The owner disables the agent."""
    disable_agent(stage.broker, stage.owner, stage.agent.id)


OVERTAKERS = [
    (revokes, LeaseEnded),
    (ends_task, TaskEnded),
    (kills_agent, Killed),
    (kills_all, Killed),
    (disables_agent, AgentDisabled),
]


@pytest.mark.parametrize("moment", ["before_mint", "after_mint"])
@pytest.mark.parametrize(("overtake", "refusal"), OVERTAKERS)
def test_an_end_that_overtakes_its_own_mint_wins(
    stage: Stage,
    moment: str,
    overtake: Callable[[Stage, Task], None],
    refusal: type[BrokerError],
) -> None:
    """Nothing is handed out, and what was minted meanwhile is ended with proof."""
    task = stage.start()
    setattr(stage.minter, moment, lambda: overtake(stage, task))
    with pytest.raises(refusal):
        request_credential(stage.broker, stage.bot, stage.ask(task))
    lease = leases(stage)[0]
    assert lease.state is LeaseState.ENDING
    assert "LeaseMinted" not in kinds(stage)
    assert "LeaseWithheld" in kinds(stage)
    sweep(stage.broker)
    assert stage.minter.alive == {}
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_a_mint_that_fails_after_its_task_ended_is_still_one_fact(stage: Stage) -> None:
    """The refusal is on record though the lease was ending already."""
    task = stage.start()
    stage.minter.before_mint = lambda: ends_task(stage, task)
    stage.minter.fail_after_mint.append(OutcomeUnknown())
    with pytest.raises(OutcomeUnknown):
        request_credential(stage.broker, stage.bot, stage.ask(task))
    recorded = facts(stage, kind="MintFailed")
    assert [x.fact.body["reason"] for x in recorded] == ["task_ended"]
    sweep_until_quiet(stage, timedelta(minutes=3))
    assert receipt(stage.broker, stage.bot, task.id).complete
    assert stage.minter.alive == {}


def test_a_frozen_issuer_that_wakes_after_the_end_reopens_the_lease(stage: Stage) -> None:
    """Its answer says that something exists; the lease is looked after again, to a new proof."""
    task = stage.start()
    stage.minter.after_mint = lambda: sweep_until_quiet(stage, timedelta(minutes=5))
    with pytest.raises(LeaseEnded):
        request_credential(stage.broker, stage.bot, stage.ask(task))
    lease = leases(stage)[0]
    assert lease.state is LeaseState.ENDING
    assert kinds(stage, lease_id=lease.id)[-3:] == [
        "LeaseEnded",
        "LeaseReappeared",
        "LeaseWithheld",
    ]
    assert [about["lease"] for _, about in stage.alarms.alarms] == [lease.id]
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_an_issuer_frozen_before_its_outside_call_makes_nothing(stage: Stage) -> None:
    """The deadline is checked before the call, so the object never comes to be."""
    stage.minter.before_mint = lambda: stage.pass_time(timedelta(seconds=31))
    with pytest.raises(OutcomeUnknown):
        request_credential(stage.broker, stage.bot, stage.ask(stage.start()))
    assert stage.minter.alive == {}


def test_a_kill_written_without_its_marking_is_enforced_by_the_clock(stage: Stage) -> None:
    """A killer that died after its first commit is made good: live under a kill is due."""
    task = stage.start()
    request_credential(stage.broker, stage.bot, stage.ask(task))
    ordered = Kill("kill_1", Height.EVERYTHING, "", "odd", "somebody", stage.broker.store.now())
    with stage.broker.store.transaction() as tx:
        tx.add_kill(ordered)
    assert enforce_kills(stage.broker) == 1
    assert enforce_kills(stage.broker) == 0
    sweep(stage.broker)
    assert stage.minter.alive == {}
