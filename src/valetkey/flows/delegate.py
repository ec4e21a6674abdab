"""Delegate: open a task under one's own, for oneself or for another agent, and take such a task."""

from __future__ import annotations

from dataclasses import replace

from valetkey.core.delegation import Link, Share, may_pass_on, narrowed
from valetkey.core.errors import Killed, NotFound
from valetkey.core.facts import FactKind
from valetkey.core.kill import Reach
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.recording import task_fact
from valetkey.flows.start_task import Plan, Seat, issuer_of, open_seat
from valetkey.flows.weigh import open_task
from valetkey.ports import Broker, Transaction


def delegate(
    broker: Broker, caller: Caller, parent_id: str, plan: Plan, to: str | None = None
) -> Task:
    """Open a task under the caller's own; it can only be narrower, and ends with it.

    `to` names the agent that is to have it (its name or id); that agent takes it before it can
    ask for anything. Without it the child is the caller's own, bound to its key.

    Raises what start_task does, and OutsideTask, DelegationRefused, TaskEnded, NotFound.
    """
    caller.is_whole()
    with broker.store.transaction() as tx:
        standing = open_task(tx, caller, parent_id)
        if standing.kills:
            raise Killed()
        chain = standing.line
        seat = _seat(tx, caller, chain, to)
        may_pass_on(chain, seat.agent, broker.limits.deepest_task)
        within = _within(tx, standing.task, plan)
        task, error = open_seat(broker, tx, str(caller.principal), within, seat)
    if error is not None:
        raise error
    return task


def take_task(broker: Broker, caller: Caller, task_id: str) -> Task:
    """Bind a task that was opened for the calling agent to its key; from then on it is its own.

    Raises NotFound for anybody else, or once another key has taken it; TaskEnded, Killed.
    """
    caller.is_whole()
    with broker.store.transaction() as tx:
        tx.hold_barrier()
        task = tx.task(task_id, lock=True)  # to be changed, so before it is held shared
        standing = tx.standing(task_id)
        if standing is None or task is None:
            raise NotFound()
        taken = task.taken(caller.agent_id, caller.jkt, issuer_of(tx, caller), tx.now())
        caller.acts_for(task.on_behalf_of)
        standing.holds(tx.now())
        if standing.kills or tx.kills_over(Reach(issuer=taken.issuer)):
            raise Killed()
        if taken != task:
            tx.save_task(taken)
            tx.record(task_fact(FactKind.TASK_TAKEN, taken, str(caller.principal)))
    return taken


def _seat(tx: Transaction, caller: Caller, chain: tuple[Link, ...], to: str | None) -> Seat:
    parent = chain[-1]
    if to is None or to in (parent.agent.id, parent.agent.name):
        return Seat(parent.agent, caller.jkt, parent.task.issuer, chain)
    agent = tx.agent(to) or tx.agent_named(to)
    if agent is None:
        raise NotFound("there is no such agent")
    return Seat(agent, "", None, chain)


def _within(tx: Transaction, parent: Task, plan: Plan) -> Plan:
    """The plan, cut to what the parent task still has."""
    now = tx.now()
    share = narrowed(parent, Share(plan.scopes, now + plan.lasts, plan.max_credentials))
    return replace(plan, lasts=share.until - now)
