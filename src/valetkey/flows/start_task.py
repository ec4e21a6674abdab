"""Start a task. It is itself a decision: an agent that writes its own task bounds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.agent import Agent
from valetkey.core.decision import Outcome, Question
from valetkey.core.errors import (
    BrokerError,
    DeniedByPolicy,
    InvalidRequest,
    InvalidTtl,
    Killed,
    NotFound,
    PolicyBroken,
)
from valetkey.core.facts import FactKind
from valetkey.core.kill import VENDOR, Reach
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.recording import task_fact
from valetkey.ports import Broker, Transaction


@dataclass(frozen=True)
class Plan:
    """What a task is to be: free-text purpose, scopes it may need, and for how long.

    With a `heartbeat` it must say so often that it lives.
    """

    purpose: str
    scopes: tuple[Scope, ...]
    lasts: timedelta
    heartbeat: timedelta | None = None


def start_task(broker: Broker, caller: Caller, plan: Plan) -> Task:
    """Open a task for the calling agent, bound to its key.

    Raises DeniedByPolicy, PolicyBroken, OutsideBoundary, Killed, InvalidTtl, UnknownScope.
    """
    with broker.store.transaction() as tx:
        task, error = _decide(broker, tx, caller, plan)
    if error is not None:
        raise error
    return task


def _decide(
    broker: Broker, tx: Transaction, caller: Caller, plan: Plan
) -> tuple[Task, BrokerError | None]:
    tx.hold_barrier()
    agent = _sound(broker, tx, caller, plan)
    issuer = _issuer(tx, caller, agent)
    vendor = agent.labels.get(VENDOR)
    reach = Reach(agent_id=agent.id, owner=agent.owner, vendor=vendor, issuer=issuer)
    if tx.kills_over(reach):
        raise Killed()
    now = tx.now()
    question = Question(
        agent=agent, ttl=plan.lasts, now=now, task_owner=agent.owner, task_scopes=plan.scopes
    )
    decision = broker.rules().policy.decide(question)
    lasts = min(plan.lasts, decision.max_ttl or plan.lasts)
    decision_id = broker.new_id("decision")
    tx.record_decision(decision_id, decision)
    task = Task(
        id=broker.new_id("task"),
        agent_id=agent.id,
        owner=agent.owner,
        purpose=plan.purpose,
        scopes=plan.scopes,
        starter_jkt=caller.jkt,
        started_at=now,
        deadline_at=now + lasts,
        decision_id=decision_id,
        issuer=issuer,
        heartbeat=plan.heartbeat,
    )
    if decision.outcome is not Outcome.ALLOW:
        refusal = PolicyBroken if decision.problem else DeniedByPolicy
        error = refusal(decision_id=decision_id)
        tx.record(task_fact(FactKind.TASK_DENIED, task, str(caller.principal), error.code))
        error.recorded = True
        return task, error
    if plan.heartbeat is not None:
        task = task.beaten(task.beat_fence, now, broker.limits.missed_beats)
    tx.add_task(task)
    tx.record(task_fact(FactKind.TASK_STARTED, task, str(caller.principal)))
    return task, None


def _sound(broker: Broker, tx: Transaction, caller: Caller, plan: Plan) -> Agent:
    """Everything that can be wrong with a plan before policy looks at it."""
    agent = tx.agent(caller.agent_id or "")
    if agent is None:
        raise NotFound()
    agent.may_ask()
    if not plan.scopes:
        raise InvalidRequest("a task names the scopes it may need")
    if plan.lasts > broker.limits.longest_task:
        raise InvalidTtl("the task is longer than tasks may be")
    for scope in plan.scopes:
        broker.rules().catalogue.check_bound(scope)
        agent.bounds(scope)
    return agent


def _issuer(tx: Transaction, caller: Caller, agent: Agent) -> str | None:
    """The issuer record that the identity came from, as its binding names it."""
    bound = (one for one in tx.bindings(agent.id) if one.id == caller.binding_id)
    return next((one.issuer for one in bound), None)
