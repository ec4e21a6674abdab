"""Delegation: authority only narrows as it is passed on, and everybody above must still have it.

A chain is the tasks above a task, from the root down, each with the agent whose task it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from valetkey.core.agent import Agent
from valetkey.core.errors import DelegationRefused, OutsideTask
from valetkey.core.on_behalf import Delegation
from valetkey.core.scope import Scope, within_any
from valetkey.core.task import Task


@dataclass(frozen=True)
class Link:
    """One task of a chain, its agent, and for a root that acts for a person their delegation."""

    task: Task
    agent: Agent
    delegation: Delegation | None = None

    def holds(self, now: datetime) -> None:
        """Raise TaskEnded, DelegationEnded, AgentNotAccepted or AgentDisabled when it gives no
        authority now.

        A disabled agent's tasks have ended too, and those of a delegation that was taken back;
        that it is so tells more.
        """
        self.agent.may_ask()
        if self.delegation is not None:
            self.delegation.holds(now)
        self.task.is_open(now)


@dataclass(frozen=True)
class Share:
    """What is to be passed on: scopes, until when at most, and how many credentials in all."""

    scopes: tuple[Scope, ...]
    until: datetime
    max_credentials: int | None = None


def narrowed(parent: Task, wanted: Share) -> Share:
    """What a child of this task gets: no wider, no longer and no more than its parent has.

    Times are cut to the parent's; raises OutsideTask for a wider scope, DelegationRefused for
    more credentials.
    """
    if not all(within_any(scope, parent.scopes) for scope in wanted.scopes):
        raise OutsideTask()
    most, asked = parent.max_credentials, wanted.max_credentials
    if most is not None and asked is not None and asked > most:
        raise DelegationRefused("a child task has no more credentials than its parent")
    return Share(wanted.scopes, min(wanted.until, parent.deadline_at), asked)


def may_pass_on(chain: Sequence[Link], to: Agent, deepest: int) -> None:
    """Raise DelegationRefused when the chain is too deep, or comes back to an agent.

    An agent may open child tasks for itself; but once another agent stands in between, nothing is
    passed back, or two agents could keep each other alive.
    """
    if len(chain) > deepest:
        raise DelegationRefused("tasks are nested too deep")
    above = [link.agent.id for link in chain]
    while above and above[-1] == to.id:
        above.pop()
    if to.id in above:
        raise DelegationRefused("the agent stands further up in the same chain")


def passed_on_by(chain: Sequence[Link], to: Agent) -> str | None:
    """The name of the agent that passes its task on to this one; None when that keeps it."""
    above = chain[-1].agent if chain else to
    return None if above.id == to.id else above.name
