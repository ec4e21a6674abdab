"""Start a task. It is itself a decision: an agent that writes its own task bounds nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from valetkey.core.agent import Agent
from valetkey.core.decision import Outcome, Question
from valetkey.core.delegation import Link, passed_on_by
from valetkey.core.errors import (
    BrokerError,
    InvalidRequest,
    InvalidTtl,
    Killed,
    NotFound,
)
from valetkey.core.facts import FactKind
from valetkey.core.kill import VENDOR, Reach
from valetkey.core.on_behalf import Delegation, Person
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.admit import room_for_task
from valetkey.flows.deciding import person_of, refusal_of, told
from valetkey.flows.nearest import nearest_task
from valetkey.flows.recording import task_fact
from valetkey.flows.resting import chosen_for, delegation_fact, reach_of_person, rests_on
from valetkey.ports import Broker, Transaction


@dataclass(frozen=True)
class Plan:
    """What a task is to be: free-text purpose, scopes it may need, and for how long.

    With a `heartbeat` it must say so often that it lives; `max_credentials` is how many it and the
    tasks under it may be given in all. `on_behalf_of` is the id of a person's delegation.
    """

    purpose: str
    scopes: tuple[Scope, ...]
    lasts: timedelta
    heartbeat: timedelta | None = None
    max_credentials: int | None = None
    on_behalf_of: str | None = None


@dataclass(frozen=True)
class Seat:
    """Whose task it is to be: agent, key, issuer; and the chain of tasks it is opened under.

    Without a key (`jkt` empty) the agent takes it later. A root may rest on a `delegation`.
    """

    agent: Agent
    jkt: str
    issuer: str | None
    chain: tuple[Link, ...] = ()
    delegation: Delegation | None = None

    @property
    def person(self) -> Person | None:
        """On whose behalf."""
        return self.delegation.person if self.delegation else person_of(self.chain)

    def no_later(self, at: datetime) -> datetime:
        """That instant, or the end of what the task hangs on, if that comes first."""
        above = [self.chain[-1].task.deadline_at] if self.chain else []
        given = [self.delegation.until] if self.delegation else []
        return min([at, *above, *given])


def start_task(broker: Broker, caller: Caller, plan: Plan) -> Task:
    """Open a task for the calling agent, bound to its key.

    On behalf of a person it lies within what that person delegated, and ends with it. Raises
    DeniedByPolicy, PolicyBroken, OutsideBoundary, OutsideDelegation, DelegationEnded, Killed,
    InvalidTtl, UnknownScope, RateLimited.
    """
    caller.is_whole()
    with broker.store.transaction() as tx:
        tx.hold_barrier()
        agent = tx.agent(caller.agent_id or "")
        if agent is None:
            raise NotFound()
        issuer = issuer_of(tx, caller)
        delegation = _rests_on(broker, tx, caller, agent, plan)
        seat = Seat(agent, caller.jkt, issuer, delegation=delegation)
        within = _within(delegation, plan, tx.now())
        task, error = open_seat(broker, tx, str(caller.principal), within, seat)
        if error is None:
            _keep(tx, delegation, str(caller.principal))
    if error is not None:
        raise error
    return task


def open_seat(
    broker: Broker, tx: Transaction, by: str, plan: Plan, seat: Seat
) -> tuple[Task, BrokerError | None]:
    """Decide and write one task; the barrier is held, and a chain above it was looked at.

    A denial is written and returned, to be raised once it is committed. Raises what is wrong with
    the plan before policy is asked.
    """
    agent = seat.agent
    _sound(broker, agent, plan)
    opener = seat.chain[-1].agent if seat.chain else agent
    room_for_task(broker, tx, opener.id)
    vendor = agent.labels.get(VENDOR)
    reach = Reach(agent_id=agent.id, owner=agent.owner, vendor=vendor, issuer=seat.issuer)
    if tx.kills_over(reach_of_person(reach, seat.person)):
        raise Killed()
    now = tx.now()
    question, policy = _question(plan, seat, now), broker.rules().policy
    decision = policy.decide(question)
    lasts = min(plan.lasts, decision.max_ttl or plan.lasts)
    decision_id = broker.new_id("decision")
    tx.record_decision(decision_id, decision)
    task = _task(broker.new_id("task"), decision_id, plan, seat, (now, now + lasts))
    if decision.outcome is not Outcome.ALLOW:
        error = refusal_of(decision, decision_id)
        if decision.problem is None:
            told(error, nearest_task(policy.decide, question))
        tx.record(task_fact(FactKind.TASK_DENIED, task, by, error.code))
        error.recorded = True
        return task, error
    if plan.heartbeat is not None:
        task = task.beaten(task.beat_fence, now, broker.limits.missed_beats)
    tx.add_task(task)
    tx.record(task_fact(FactKind.TASK_STARTED, task, by))
    return task, None


def _rests_on(
    broker: Broker, tx: Transaction, caller: Caller, agent: Agent, plan: Plan
) -> Delegation | None:
    """What the plan names, or else what the caller's token is for, if it acts for a person."""
    if plan.on_behalf_of is not None:
        return rests_on(tx, caller, agent, plan.on_behalf_of)
    if caller.acting is None:
        return None
    return chosen_for(broker, tx, caller.acting, agent, plan.scopes)


def _keep(tx: Transaction, delegation: Delegation | None, by: str) -> None:
    """Write a delegation that was made by the person's token, with the first task on it."""
    if delegation is not None and tx.delegation(delegation.id) is None:
        tx.add_delegation(delegation)
        tx.record(delegation_fact(FactKind.DELEGATION_GIVEN, delegation, by))


def _within(delegation: Delegation | None, plan: Plan, now: datetime) -> Plan:
    """The plan, cut to the time that the person gave.

    Raises DelegationEnded, OutsideDelegation.
    """
    if delegation is None:
        return plan
    delegation.holds(now)
    delegation.bounds(plan.scopes)
    return replace(plan, lasts=min(plan.lasts, delegation.until - now))


def _question(plan: Plan, seat: Seat, now: datetime) -> Question:
    return Question(
        agent=seat.agent,
        ttl=plan.lasts,
        now=now,
        task_owner=seat.agent.owner,
        task_scopes=plan.scopes,
        depth=len(seat.chain),
        delegated_by=passed_on_by(seat.chain, seat.agent),
        person=seat.person,
    )


def _task(
    task_id: str, decision_id: str, plan: Plan, seat: Seat, lasts: tuple[datetime, datetime]
) -> Task:
    parent = seat.chain[-1].task if seat.chain else None
    return Task(
        id=task_id,
        agent_id=seat.agent.id,
        owner=seat.agent.owner,
        purpose=plan.purpose,
        scopes=plan.scopes,
        starter_jkt=seat.jkt,
        started_at=lasts[0],
        deadline_at=seat.no_later(lasts[1]),
        issuer=seat.issuer,
        on_behalf_of=seat.person.principal if seat.person else None,
        delegation_id=seat.delegation.id if seat.delegation else None,
        heartbeat=plan.heartbeat,
        parent_id=parent.id if parent else None,
        ancestors=tuple(link.task.id for link in seat.chain),
        max_credentials=plan.max_credentials,
        decision_id=decision_id,
    )


def _sound(broker: Broker, agent: Agent, plan: Plan) -> None:
    """Everything that can be wrong with a plan before policy looks at it."""
    agent.may_ask()
    if not plan.scopes:
        raise InvalidRequest("a task names the scopes it may need")
    if plan.lasts > broker.limits.longest_task:
        raise InvalidTtl("the task is longer than tasks may be")
    for scope in plan.scopes:
        broker.rules().catalogue.check_bound(scope)
        agent.bounds(scope)


def issuer_of(tx: Transaction, caller: Caller) -> str | None:
    """The issuer record that an agent's identity came from, as its binding names it."""
    bound = (one for one in tx.bindings(caller.agent_id or "") if one.id == caller.binding_id)
    return next((one.issuer for one in bound), None)
