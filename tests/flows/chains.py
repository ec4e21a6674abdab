"""Agents beside the stage's own, and tasks that are passed on to them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from valetkey.core.agent import Agent, Binding
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.delegate import delegate, take_task
from valetkey.flows.start_task import Plan
from valetkey.testing.brokers import EPOCH, Stage

READ_EU = "orders-db:read{region=eu}"


def helper_bot(stage: Stage, name: str = "helper-bot", vendor: str = "other") -> Caller:
    """Another agent, owned by somebody else, with a boundary of reading only."""
    agent = replace(
        stage.agent,
        id=stage.new_id("agent"),
        name=name,
        owner="otto@example.com",
        labels={"vendor": vendor},
        boundary=(Scope("orders-db", "read"),),
    )
    return joined(stage, agent)


def joined(stage: Stage, agent: Agent) -> Caller:
    """An agent that is registered, with a key and an identity of another issuer than ours."""
    binding = Binding(f"binding of {agent.name}", agent.id, "mesh", (("sub", agent.name),), "ci", EPOCH)
    with stage.broker.store.transaction() as tx:
        tx.add_agent(agent)
        tx.add_binding(binding)
    return replace(
        stage.bot,
        principal=Principal("https://mesh", agent.name),
        jkt=f"key of {agent.name}",
        agent_id=agent.id,
        agent=agent.name,
        binding_id=binding.id,
    )


def passed_on(
    stage: Stage, parent: Task, to: Caller, *scopes: str, by: Caller | None = None, **more: object
) -> Task:
    """A child task for another agent, taken by it."""
    plan = Plan("part of it", tuple(map(Scope.parse, scopes or (READ_EU,))), timedelta(hours=8))
    plan = replace(plan, **more)  # type: ignore[arg-type]
    child = delegate(stage.broker, by or stage.bot, parent.id, plan, to.agent)
    return take_task(stage.broker, to, child.id)
