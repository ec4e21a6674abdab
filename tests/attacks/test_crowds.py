"""An agent makes very many of what costs it nothing, so that others wait for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.attacks.test_chains import other_agent
from tests.unit.test_lease import NEW
from valetkey.core.cut import Cut
from valetkey.core.errors import NotAsked, RateLimited
from valetkey.core.ids import LeaseId, Mark, short_digest
from valetkey.core.lease import Handle, Lease
from valetkey.core.scope import Scope
from valetkey.flows.delegate import delegate
from valetkey.flows.end_task import end_task
from valetkey.flows.start_task import Plan, start_task
from valetkey.minters.aws_cut import Cutter, Known
from valetkey.minters.breaker import Breakers, Temper
from valetkey.testing.brokers import EPOCH, Stage

PLAN = Plan("a part of it", (Scope.parse("orders-db:read"),), timedelta(minutes=30))


def few(stage: Stage, most: int) -> None:
    """So many tasks of one agent may be open."""
    limits = replace(stage.broker.limits, open_tasks=most)
    stage.broker = replace(stage.broker, limits=limits)


def test_an_agent_does_not_open_tasks_without_end(stage: Stage) -> None:
    """Ending them is one transaction that others wait for: neither roots nor children go on."""
    few(stage, 3)
    root = stage.start()
    for _ in range(2):
        delegate(stage.broker, stage.bot, root.id, PLAN)
    with pytest.raises(RateLimited) as refused:
        delegate(stage.broker, stage.bot, root.id, PLAN)
    assert refused.value.extra == {"limit": "tasks"}
    with pytest.raises(RateLimited):
        stage.start()
    end_task(stage.broker, stage.bot, root.id)
    assert stage.start().parent_id is None


def test_tasks_that_are_opened_for_another_agent_take_none_of_its_room(stage: Stage) -> None:
    """Who opens a task has it counted: otherwise one agent could keep another from working."""
    few(stage, 3)
    helper = other_agent(stage)
    root = stage.start()
    for _ in range(2):
        delegate(stage.broker, stage.bot, root.id, PLAN, helper.agent)
    for _ in range(3):
        start_task(stage.broker, helper, PLAN)
    with pytest.raises(RateLimited):
        delegate(stage.broker, stage.bot, root.id, PLAN, helper.agent)


class FullRole:
    """A role at AWS, and the book of its refusals, in which there is room for nothing."""

    def cut(self, place: str) -> Cut:
        """Nothing is named."""
        return Cut(place)

    def next_cut(self, place: str, slots: int) -> Cut:
        """Nor is it in the next."""
        return Cut(place)

    def read(self, role: str) -> None:
        """Nothing stands there."""

    def forget(self, role: str) -> None:
        """Nothing is left to forget."""

    def called(self, handle: Handle, generation: int) -> None:
        """Nobody is a witness."""


def test_asks_that_fail_at_a_full_role_keep_nobody_elses_end_waiting(
    aws_lease: Lease, stage: Stage
) -> None:
    """That there is no room to refuse them says nothing of the role: it is not left alone."""
    full: Any = FullRole()
    known = Known(full, lambda _: aws_lease, lambda: EPOCH, lambda _: None)
    cutter = Cutter(full, full, known, "abcdefe1")
    breakers = Breakers(Temper(outages=2))
    for _ in range(5):
        with pytest.raises(NotAsked), breakers.watching("exports"):
            cutter.deny(aws_lease.handle, aws_lease.backend_expires_at)
    assert not breakers.is_open("exports")


@pytest.fixture
def aws_lease(stage: Stage) -> Lease:
    """A lease whose mint failed, so that nobody holds its session."""
    lease_id = LeaseId(stage.new_id("lease"))
    mark = Mark.of("abcdefe1", short_digest("read"), lease_id)
    handle = Handle("aws-sts", "exports", str(mark), {"place": "aws-sts role"})
    return replace(NEW, id=lease_id, handle=handle, backend_expires_at=EPOCH + timedelta(days=900))
