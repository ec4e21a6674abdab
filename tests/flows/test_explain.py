"""Explain gives the decision that request would give, for any ask in any situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as some

from tests.flows.stories import kinds, leases
from valetkey.core.agent import AgentState
from valetkey.core.ask import Ask
from valetkey.core.decision import Outcome
from valetkey.core.errors import BrokerError
from valetkey.core.kill import Height
from valetkey.core.scope import Scope
from valetkey.flows.end_task import end_task
from valetkey.flows.explain import explain
from valetkey.flows.kill import kill
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Issued
from valetkey.testing.brokers import Stage

SCOPES = some.sampled_from(
    [
        "orders-db:read{region=eu}",
        "orders-db:write{region=us}",
        "orders-db:drop{region=eu}",
        "orders-db:read{region=mars}",
        "orders-db:read",
        "orders-db:erase{region=eu}",
        "nowhere:read",
    ]
)
DECLARED = some.lists(
    some.sampled_from(["orders-db:read", "orders-db:write{region=us}", "orders-db:drop"]),
    min_size=1,
    unique=True,
)
SITUATIONS = some.sampled_from(
    ["usual", "ended", "late", "killed", "stranger", "broken", "narrowed", "disabled", "short"]
)


def put(stage: Stage, situation: str, task_id: str) -> None:
    """Bring about what makes this ask special."""
    broker = stage.broker
    if situation == "ended":
        end_task(broker, stage.bot, task_id)
    if situation == "late":
        stage.pass_time(timedelta(minutes=59, seconds=59.5))
    if situation == "killed":
        kill(broker, stage.operator, Height.TARGET, "orders-db", "odd")
    if situation == "stranger":
        stage.bot = replace(stage.bot, jkt="another")
    if situation == "broken":
        stage.policy.problem = "it raised"
    if situation == "short":
        stage.policy.max_ttl = timedelta(seconds=30)
    if situation in {"narrowed", "disabled"}:
        changed = {
            "narrowed": replace(stage.agent, boundary=(Scope("orders-db", "write"),)),
            "disabled": replace(stage.agent, state=AgentState.DISABLED),
        }[situation]
        with broker.store.transaction() as tx:
            tx.save_agent(changed)


def explained(stage: Stage, ask: Ask) -> tuple[str, object]:
    """What explain says, in the words of a request's answer."""
    try:
        said = explain(stage.broker, stage.bot, ask)
    except BrokerError as refused:
        return "refused", refused.code
    if said.decision.outcome is Outcome.DENY:
        return "refused", "policy_broken" if said.decision.problem else "denied_by_policy"
    return said.decision.outcome.value, (said.ttl.ttl, said.ttl.cut_by, said.decision.needs)


def requested(stage: Stage, ask: Ask) -> tuple[str, object]:
    """What request does, in the same words."""
    try:
        answer = request_credential(stage.broker, stage.bot, ask)
    except BrokerError as refused:
        return "refused", refused.code
    if isinstance(answer, Issued):
        return "allow", (answer.lease.granted_ttl, answer.lease.cut_by, ())
    grant = answer.grant
    return "needs_approval", (grant.granted_ttl, grant.cut_by, grant.needs)


@settings(max_examples=150, deadline=None)
@given(scope=SCOPES, declared=DECLARED, situation=SITUATIONS, seconds=some.integers(1, 12 * 3600))
def test_explain_says_what_request_does(
    scope: str, declared: list[str], situation: str, seconds: int
) -> None:
    """Outcome, error code, time, the rule that cut it and the approvals needed are the same."""
    stage = Stage()
    task = stage.start(*declared)
    ask = stage.ask(task, scope, ttl=timedelta(seconds=seconds))
    put(stage, situation, task.id)
    before = kinds(stage)
    said = explained(stage, ask)
    assert kinds(stage) == before
    assert leases(stage) == []
    assert requested(stage, ask) == said
