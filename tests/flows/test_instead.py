"""A denial says what could be had instead, in its refusal and in `explain`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.errors import DeniedByPolicy, OutsideTask, PolicyBroken
from valetkey.flows.explain import explain
from valetkey.flows.request_credential import request_credential
from valetkey.testing.brokers import Stage, TablePolicy

EU = "orders-db:read{region=eu}"


class Short(TablePolicy):
    """Reading for a minute at most, writing never; tasks of one scope only."""

    def decide(self, question: Question) -> Decision:
        """Deny what is longer."""
        decision = super().decide(question)
        long = question.wanted is not None and question.ttl > timedelta(minutes=1)
        many = question.wanted is None and len(question.task_scopes) > 1
        return replace(decision, outcome=Outcome.DENY) if long or many else decision


def test_a_denial_says_how_long_would_do(stage: Stage) -> None:
    """In the refusal and in `explain`, the same."""
    task = stage.start()
    stage.rules.policy = Short()
    expected = {"scopes": [EU], "ttl": 60, "outcome": "allow"}
    with pytest.raises(DeniedByPolicy) as denied:
        request_credential(stage.broker, stage.bot, stage.ask(task))
    assert denied.value.extra["nearest"] == expected
    explained = explain(stage.broker, stage.bot, stage.ask(task))
    assert explained.nearest is not None
    assert explained.nearest.told() == expected


def test_what_the_task_did_not_declare_is_answered_with_what_it_did(stage: Stage) -> None:
    """The other region of the same action; never a scope beyond the task."""
    task = stage.start(EU)
    with pytest.raises(OutsideTask) as outside:
        request_credential(stage.broker, stage.bot, stage.ask(task, "orders-db:read{region=us}"))
    assert outside.value.extra["nearest"]["scopes"] == [EU]


def test_a_denial_that_nothing_near_helps_says_nothing(stage: Stage) -> None:
    """Neither does one of a policy that is broken."""
    task = stage.start()
    stage.policy.outcomes = {}
    with pytest.raises(DeniedByPolicy) as denied:
        request_credential(stage.broker, stage.bot, stage.ask(task))
    assert "nearest" not in denied.value.extra
    stage.policy.problem = "broken"
    with pytest.raises(PolicyBroken) as broken:
        request_credential(stage.broker, stage.bot, stage.ask(task))
    assert "nearest" not in broken.value.extra


def test_a_refused_task_says_which_scope_it_could_have(stage: Stage) -> None:
    """One of them, as each alone is allowed but not both."""
    stage.rules.policy = Short()
    with pytest.raises(DeniedByPolicy) as denied:
        stage.start("orders-db:read", "orders-db:write")
    assert denied.value.extra["nearest"]["scopes"] == ["orders-db:read"]
