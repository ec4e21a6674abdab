"""Stories of delegation: authority only narrows on its way down, and ends from the top."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.chains import READ_EU, helper_bot, passed_on
from tests.flows.stories import facts, issued, kinds, lease_now, sweep_until_quiet
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    BudgetSpent,
    DelegationRefused,
    DeniedByPolicy,
    Killed,
    NotFound,
    OutsideBoundary,
    OutsideTask,
    TaskEnded,
)
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task, TaskState
from valetkey.flows import look
from valetkey.flows.agents import disable_agent
from valetkey.flows.delegate import delegate, take_task
from valetkey.flows.end_task import end_overdue_tasks, end_task, receipt
from valetkey.flows.kill import kill, kill_progress
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.testing.brokers import Stage, TablePolicy

READ = "orders-db:read"


def ask_as(stage: Stage, caller: Caller, task: Task, scope: str = READ_EU) -> Issued | Waiting:
    """Ask for a credential as another agent."""
    return request_credential(stage.broker, caller, stage.ask(task, scope))


def given_to(stage: Stage, caller: Caller, task: Task) -> Issued:
    """A credential that was handed out."""
    answer = ask_as(stage, caller, task)
    assert isinstance(answer, Issued)
    return answer


def test_the_agent_that_has_yet_to_take_a_task_is_told_so_and_nobody_else(stage: Stage) -> None:
    """Looking at it, asking under it and beating for it; to others it is not there."""
    helper, stranger = helper_bot(stage), helper_bot(stage, "other-bot")
    plan = Plan("part of it", (Scope.parse(READ_EU),), timedelta(hours=1))
    child = delegate(stage.broker, stage.bot, stage.start().id, plan, helper.agent)
    attempts = (
        lambda caller: look.task(stage.broker, caller, child.id),
        lambda caller: look.tree(stage.broker, caller, child.id),
        lambda caller: ask_as(stage, caller, child),
    )
    for attempt in attempts:
        with pytest.raises(NotFound, match="take it first"):
            attempt(helper)
        with pytest.raises(NotFound) as refused:
            attempt(stranger)
        assert refused.value.detail == NotFound().detail
    take_task(stage.broker, helper, child.id)
    with pytest.raises(NotFound) as late:
        look.task(stage.broker, replace(helper, jkt="another key"), child.id)
    assert late.value.detail == NotFound().detail


def test_another_agent_works_under_a_task_that_was_passed_on(stage: Stage) -> None:
    """It takes the child with its own key and gets a credential, which the receipt above holds."""
    helper = helper_bot(stage)
    parent = stage.start()
    child = passed_on(stage, parent, helper)
    assert (child.parent_id, child.depth, child.starter_jkt) == (parent.id, 1, helper.jkt)
    given = given_to(stage, helper, child)
    ended = end_task(stage.broker, stage.bot, parent.id)
    assert [lease.id for lease in ended.leases] == [given.lease.id]
    assert lease_now(stage, given.lease).proof is Proof.VERIFIED
    assert {"TaskStarted", "TaskTaken", "TaskEnded"} <= set(kinds(stage))


def test_a_child_task_ends_when_its_parent_does(stage: Stage) -> None:
    """At any depth, in the same transaction, and says why."""
    helper = helper_bot(stage)
    parent = stage.start()
    child = passed_on(stage, parent, helper)
    grandchild = delegate(
        stage.broker, helper, child.id, Plan("less", (Scope.parse(READ_EU),), timedelta(minutes=5))
    )
    end_task(stage.broker, stage.bot, parent.id)
    with stage.broker.store.transaction() as tx:
        below = [tx.task(child.id), tx.task(grandchild.id)]
    assert [(x.state, x.end_reason) for x in below if x] == [(TaskState.ENDED, "parent_ended")] * 2
    with pytest.raises(TaskEnded):
        ask_as(stage, helper, child)


def test_a_child_left_by_its_parent_ends_at_the_next_tick(stage: Stage) -> None:
    """A parent that falls silent ends alone; nothing can be had below it, then that ends too."""
    helper = helper_bot(stage)
    plan = Plan("a refund", (Scope.parse(READ),), timedelta(hours=1), timedelta(seconds=10))
    parent = start_task(stage.broker, stage.bot, plan)
    child = passed_on(stage, parent, helper)
    given = given_to(stage, helper, child)
    stage.pass_time(timedelta(seconds=31))
    with pytest.raises(TaskEnded):
        ask_as(stage, helper, child)
    assert end_overdue_tasks(stage.broker) == 1
    assert end_overdue_tasks(stage.broker) == 1
    told = (recorded.fact for recorded in facts(stage))
    ends = [one.body["reason"] for one in told if one.kind.value == "TaskEnded"]
    assert sorted(ends) == ["heartbeat_missed", "parent_ended"]
    assert lease_now(stage, given.lease).state is LeaseState.ENDING


def test_a_child_task_is_no_wider_than_its_parent(stage: Stage) -> None:
    """A scope that the parent did not declare, or more credentials, are refused."""
    helper = helper_bot(stage)
    parent = stage.start(READ_EU)
    with pytest.raises(OutsideTask):
        passed_on(stage, parent, helper, "orders-db:read{region=us}")
    narrow = passed_on(stage, parent, helper, max_credentials=2)
    with pytest.raises(DelegationRefused):
        passed_on(stage, narrow, helper, by=helper, max_credentials=3)


def test_a_child_task_stays_within_its_own_agents_boundary(stage: Stage) -> None:
    """Being handed a task gives an agent nothing that it may never have."""
    helper = helper_bot(stage)
    with pytest.raises(OutsideBoundary):
        passed_on(stage, stage.start(), helper, "orders-db:write{region=eu}")


def test_a_child_task_ends_no_later_than_its_parent(stage: Stage) -> None:
    """A longer time is cut to the parent's."""
    helper = helper_bot(stage)
    parent = stage.start(minutes=20)
    assert passed_on(stage, parent, helper).deadline_at == parent.deadline_at


def test_tasks_are_nested_only_so_deep(stage: Stage) -> None:
    """Three tasks may stand above one; the fourth is refused, and nothing is opened."""
    task = stage.start()
    plan = Plan("deeper", (Scope.parse(READ),), timedelta(minutes=30))
    for _ in range(3):
        task = delegate(stage.broker, stage.bot, task.id, plan)
    with pytest.raises(DelegationRefused):
        delegate(stage.broker, stage.bot, task.id, plan)
    with stage.broker.store.transaction() as tx:
        assert len(tx.tasks(stage.agent.id, None)) == 4


def test_a_task_does_not_come_back_to_an_agent_above(stage: Stage) -> None:
    """Two agents cannot keep each other alive."""
    helper = helper_bot(stage)
    child = passed_on(stage, stage.start(), helper)
    with pytest.raises(DelegationRefused):
        passed_on(stage, child, stage.bot, by=helper)


def test_a_task_is_taken_by_its_agent_only_and_by_one_key(stage: Stage) -> None:
    """Before that nobody can ask under it; a second key of the agent comes too late."""
    helper, other = helper_bot(stage), helper_bot(stage, "other-bot")
    plan = Plan("part of it", (Scope.parse(READ_EU),), timedelta(hours=1))
    child = delegate(stage.broker, stage.bot, stage.start().id, plan, helper.agent)
    for stranger in (stage.bot, other):
        with pytest.raises(NotFound):
            take_task(stage.broker, stranger, child.id)
    with pytest.raises(NotFound):
        ask_as(stage, helper, child)
    with pytest.raises(NotFound):
        ask_as(stage, replace(helper, jkt=""), child)
    take_task(stage.broker, helper, child.id)
    take_task(stage.broker, helper, child.id)
    with pytest.raises(NotFound):
        take_task(stage.broker, replace(helper, jkt="another key"), child.id)
    assert kinds(stage).count("TaskTaken") == 1


def test_every_agent_of_the_chain_must_be_allowed_what_is_asked(stage: Stage) -> None:
    """What policy denies the agent above, it denies whoever works for it."""
    helper = helper_bot(stage)
    child = passed_on(stage, stage.start(), helper)

    class NotForRefunds(TablePolicy):
        def decide(self, question: Question) -> Decision:
            decision = super().decide(question)
            if question.wanted is not None and question.agent.id == stage.agent.id:
                return replace(decision, outcome=Outcome.DENY)
            return decision

    stage.rules.policy = NotForRefunds()
    with pytest.raises(DeniedByPolicy):
        ask_as(stage, helper, child)


def test_approvals_that_the_agent_above_needs_are_needed_below(stage: Stage) -> None:
    """The grant waits for them, and both inputs are recorded."""
    helper = helper_bot(stage)
    child = passed_on(stage, stage.start(), helper)

    class RefundsNeedsApproval(TablePolicy):
        def decide(self, question: Question) -> Decision:
            decision = super().decide(question)
            if question.wanted is None or question.agent.id != stage.agent.id:
                return decision
            needs = (("approvers", 1),)
            return replace(decision, outcome=Outcome.NEEDS_APPROVAL, needs=needs)

    stage.rules.policy = RefundsNeedsApproval()
    waiting = ask_as(stage, helper, child)
    assert isinstance(waiting, Waiting)
    assert waiting.grant.needs == (("approvers", 1),)
    with stage.broker.store.transaction() as tx:
        recorded = tx.decision(waiting.grant.decision_id)
    assert len(recorded["recorded_input"]["above"]) == 1  # type: ignore[index]


def test_credentials_below_count_against_every_limit_above(stage: Stage) -> None:
    """The third of two is refused, before anything is written for it; ended ones count too."""
    helper = helper_bot(stage)
    parent = stage.start()
    plan = Plan("a refund", (Scope.parse(READ),), timedelta(hours=1), max_credentials=2)
    parent = start_task(stage.broker, stage.bot, plan)
    child = passed_on(stage, parent, helper)
    ask_as(stage, helper, child)
    issued(stage, stage.ask(parent))
    sweep_until_quiet(stage, lasting=timedelta(minutes=20))
    for caller, task in ((helper, child), (stage.bot, parent)):
        with pytest.raises(BudgetSpent):
            ask_as(stage, caller, task)
    assert kinds(stage).count("LeaseWritten") == 2


@pytest.mark.parametrize(
    ("height", "subject"),
    [
        (Height.AGENT, lambda stage, parent: stage.agent.id),
        (Height.OWNER, lambda stage, parent: stage.agent.owner),
        (Height.VENDOR, lambda stage, parent: "acme"),
        (Height.ISSUER, lambda stage, parent: "cluster"),
        (Height.TASK, lambda stage, parent: parent.id),
    ],
)
def test_a_kill_reaches_what_was_passed_on(
    stage: Stage, height: Height, subject: object
) -> None:
    """Leases of another agent, owner, vendor and issuer end, because of where they hang."""
    helper = helper_bot(stage)
    parent = stage.start()
    child = passed_on(stage, parent, helper)
    given = given_to(stage, helper, child)
    name = subject(stage, parent)  # type: ignore[operator]
    ordered = kill(stage.broker, stage.operator, height, name, "odd")
    assert lease_now(stage, given.lease).state is LeaseState.ENDING
    assert len(kill_progress(stage.broker, stage.operator, ordered.id).unended) == 1
    with pytest.raises(TaskEnded if height is Height.TASK else Killed):
        ask_as(stage, helper, child)


def test_a_kill_that_lands_while_a_credential_is_minted_below_withholds_it(stage: Stage) -> None:
    """The second commit looks at everything above, too."""
    helper = helper_bot(stage)
    child = passed_on(stage, stage.start(), helper)
    order = lambda step: (  # noqa: E731
        kill(stage.broker, stage.operator, Height.AGENT, stage.agent.id, "odd")
        if step == "issue.minted"
        else None
    )
    broker = replace(stage.broker, failpoint=order)
    with pytest.raises(Killed):
        request_credential(broker, helper, stage.ask(child))
    assert "LeaseWithheld" in kinds(stage)


def test_disabling_an_agent_ends_what_it_passed_on(stage: Stage) -> None:
    """Its tasks end, and every task and lease under them."""
    helper = helper_bot(stage)
    child = passed_on(stage, stage.start(), helper)
    given = given_to(stage, helper, child)
    disable_agent(stage.broker, stage.operator, stage.agent.id)
    assert lease_now(stage, given.lease).state is LeaseState.ENDING
    with pytest.raises(AgentDisabled):
        ask_as(stage, helper, child)


def test_who_passed_a_task_on_may_end_and_see_it(stage: Stage) -> None:
    """The agent above and its owner; a stranger sees nothing at all."""
    helper, stranger = helper_bot(stage), helper_bot(stage, "other-bot")
    parent = stage.start()
    child = passed_on(stage, parent, helper)
    ask_as(stage, helper, child)
    seen = look.tree(stage.broker, stage.owner, parent.id)
    assert [(x.agent, len(x.leases)) for x in seen.children] == [("helper-bot", 1)]
    for reading in (look.tree, look.task, receipt):
        with pytest.raises(NotFound):
            reading(stage.broker, stranger, child.id)
    with pytest.raises(NotFound):
        end_task(stage.broker, stranger, child.id)
    assert end_task(stage.broker, stage.bot, child.id).complete
    with stage.broker.store.transaction() as tx:
        above = tx.task(parent.id)
    assert above is not None
    assert above.state is TaskState.OPEN


def test_an_unknown_agent_is_passed_nothing(stage: Stage) -> None:
    """Neither is a task passed on under somebody else's."""
    helper = helper_bot(stage)
    parent = stage.start()
    plan = Plan("part of it", (Scope.parse(READ_EU),), timedelta(hours=1))
    refusals: list[BrokerError] = []
    for caller, to in ((stage.bot, "nobody"), (helper, "helper-bot")):
        with pytest.raises(NotFound) as refused:
            delegate(stage.broker, caller, parent.id, plan, to)
        refusals.append(refused.value)
    assert len(refusals) == 2
