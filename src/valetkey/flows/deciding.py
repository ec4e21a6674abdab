"""What policy is asked of an ask, everybody who must be allowed it, and what to ask for instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from valetkey.core.catalogue import CataloguedScope
from valetkey.core.decision import Decision, Outcome, Question, intersection
from valetkey.core.delegation import Link, passed_on_by
from valetkey.core.errors import (
    BrokerError,
    DeniedByPolicy,
    OutsideBoundary,
    OutsideTask,
    PolicyBroken,
)
from valetkey.core.on_behalf import Person
from valetkey.core.scope import Scope
from valetkey.flows.nearest import Nearest, nearest_ask
from valetkey.ports import Broker, PolicyEngine, Standing


def question_of(
    standing: Standing,
    wanted: CataloguedScope,
    ttl: timedelta,
    now: datetime,
    approvals: Mapping[str, int],
) -> Question:
    """The whole input of the decision on one ask under a task."""
    task, agent = standing.task, standing.agent
    return Question(
        agent=agent,
        ttl=ttl,
        now=now,
        task_id=task.id,
        task_owner=task.owner,
        task_scopes=task.scopes,
        wanted=wanted,
        approvals=approvals,
        depth=task.depth,
        delegated_by=passed_on_by(standing.above, agent),
        person=person_of(standing.line),
    )


def person_of(line: Sequence[Link]) -> Person | None:
    """On whose behalf the tasks of a line act, which is what their root rests on."""
    rests_on = line[0].delegation if line else None
    return rests_on.person if rests_on else None


def decided_for_all(policy: PolicyEngine, question: Question, standing: Standing) -> Decision:
    """What everybody in the chain may have: the task's own agent, and each one above it."""
    others = {link.agent.id: link.agent for link in standing.above}
    others.pop(standing.agent.id, None)
    above = [policy.decide(replace(question, agent=agent)) for agent in others.values()]
    return intersection(policy.decide(question), above)


def check_within(broker: Broker, standing: Standing, question: Question) -> None:
    """Raise OutsideTask or OutsideBoundary, with what could be had instead."""
    scope = question.wanted.scope if question.wanted else None
    try:
        if scope is not None:
            _reaches(standing, scope)
    except (OutsideTask, OutsideBoundary) as outside:
        told(outside, instead(broker, standing, question))
        raise


def instead_of(
    broker: Broker, standing: Standing, question: Question, decision: Decision
) -> Nearest | None:
    """What could be had instead of what was denied by rules; a broken policy allows nothing."""
    if decision.outcome is not Outcome.DENY or decision.problem is not None:
        return None
    return instead(broker, standing, question)


def instead(broker: Broker, standing: Standing, question: Question) -> Nearest | None:
    """The nearest that would not be denied, of what the task and everybody's boundary reach."""
    rules = broker.rules()

    def fits(scope: Scope) -> bool:
        try:
            _reaches(standing, scope)
        except BrokerError:
            return False
        return True

    return nearest_ask(
        lambda other: decided_for_all(rules.policy, other, standing),
        rules.catalogue,
        question,
        fits,
    )


def _reaches(standing: Standing, scope: Scope) -> None:
    """Raise OutsideTask or OutsideBoundary; boundaries may have become narrower above."""
    standing.task.declares(scope)
    for agent in (standing.agent, *(link.agent for link in standing.above)):
        agent.bounds(scope)


def told(error: BrokerError, nearest: Nearest | None) -> BrokerError:
    """The same refusal, which says what could be had instead, if anything was found."""
    if nearest is not None:
        error.extra = {**error.extra, "nearest": nearest.told()}
    return error


def refusal_of(decision: Decision, decision_id: str) -> BrokerError:
    """What a deny tells the caller."""
    if decision.problem is not None:
        return PolicyBroken(decision_id=decision_id)
    return DeniedByPolicy(decision_id=decision_id)
