"""Ceilings in the journeys: nothing is minted, nothing is used up, and it may be asked again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from valetkey.core.admission import Ceilings
from valetkey.core.errors import RateLimited
from valetkey.core.facts import FactKind, HistoryQuery
from valetkey.core.grant import GrantState
from valetkey.flows.approve import approve, fresh_name
from valetkey.flows.collect import collect
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.testing.brokers import Stage

WRITE = "orders-db:write{region=eu}"


@pytest.fixture
def stage() -> Stage:
    """A stage on which a task may have two leases."""
    made = Stage()
    limits = replace(made.broker.limits, ceilings=Ceilings(task=2))
    made.broker = replace(made.broker, limits=limits)
    return made


def fill(stage: Stage, task_id: str) -> None:
    """Take all the room of a task."""
    with stage.broker.store.transaction() as tx:
        found = tx.task(task_id)
    assert found is not None
    for _ in range(2):
        assert isinstance(request_credential(stage.broker, stage.bot, stage.ask(found)), Issued)


def test_beyond_a_ceiling_nothing_is_minted_or_written(stage: Stage) -> None:
    """The refusal says which ceiling and when to come again; no grant, lease or fact is left."""
    task = stage.start()
    fill(stage, task.id)
    made = len(stage.minter.secrets_made)
    before = len(stage.memory.state.facts)
    with pytest.raises(RateLimited) as refused:
        request_credential(stage.broker, stage.bot, stage.ask(task))
    assert refused.value.extra == {"limit": "task"}
    assert refused.value.retry_after is not None
    assert not refused.value.recorded
    assert len(stage.minter.secrets_made) == made
    assert len(stage.memory.state.facts) == before
    assert len(stage.memory.state.grants) == len(stage.memory.state.leases) == 2


def test_the_same_request_finds_room_once_leases_have_ended(stage: Stage) -> None:
    """An ask that was refused for a ceiling was not answered: its key is as good as new."""
    task = stage.start()
    fill(stage, task.id)
    ask = stage.ask(task)
    with pytest.raises(RateLimited):
        request_credential(stage.broker, stage.bot, ask)
    stage.pass_time(timedelta(minutes=6))
    with pytest.raises(RateLimited):
        request_credential(stage.broker, stage.bot, ask)  # expired, but their ends not proven
    other = stage.start()
    assert isinstance(request_credential(stage.broker, stage.bot, stage.ask(other)), Issued)
    with stage.broker.store.transaction() as tx:
        leases = tx.leases_of_task(task.id)
    for lease in leases:
        stage.pass_time(timedelta(minutes=1))
        sweep(stage.broker, only=[lease.id])
    assert isinstance(request_credential(stage.broker, stage.bot, ask), Issued)


def test_an_approval_is_not_used_up_by_a_full_ceiling(stage: Stage) -> None:
    """The grant stays approved, and is collected when there is room."""
    task = stage.start()
    waiting = request_credential(stage.broker, stage.bot, stage.ask(task, WRITE))
    assert isinstance(waiting, Waiting)
    grant = waiting.grant
    fill(stage, task.id)
    yes = stage.fresh(stage.approver, fresh_name(grant))
    approve(stage.broker, yes, grant.id, grant.shown_hash or "")
    with pytest.raises(RateLimited):
        collect(stage.broker, stage.bot, grant.id)
    assert stage.memory.state.grants[grant.id].state is GrantState.APPROVED
    with stage.broker.store.transaction() as tx:
        assert not tx.history(HistoryQuery(kind=FactKind.GRANT_COLLECTED.value))


def test_waiting_and_denied_asks_need_no_room(stage: Stage) -> None:
    """Only what would be minted is counted."""
    task = stage.start()
    fill(stage, task.id)
    asked = request_credential(stage.broker, stage.bot, stage.ask(task, WRITE))
    assert isinstance(asked, Waiting)
    end_task(stage.broker, stage.bot, task.id)
