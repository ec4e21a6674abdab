"""What provisioning answers: plans, agents made equal to files, and proposals."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from valetkey.web.api.answers import Agent, Answer


class Proposed(Answer):
    """A change that waits for a person, or was decided by one.

    `was` is the boundary as it is, `boundary` what it would be; `current` is false when the agent
    has changed since, so that the next plan proposes anew.
    """

    id: str
    agent_id: str
    agent: str
    owner: str
    was: list[str]
    boundary: list[str]
    bindings: list[str]
    rule: str
    state: Literal["waiting", "refused", "accepted", "superseded"]
    current: bool
    created_by: str
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    shown_hash: str
    fresh_for: str | None


class Proposals(Answer):
    """The newest proposals."""

    items: list[Proposed]


class PlannedChange(Answer):
    """One change; `waits` for what a person accepts first."""

    what: Literal["create", "change", "narrow", "widen", "bind", "unbind", "withdraw"]
    part: str
    was: str
    becomes: str
    waits: bool


class Obstacle(Answer):
    """What stands against one part of what is wanted."""

    part: str
    code: str
    detail: str
    next_action: str


class PlannedAgent(Answer):
    """The plan for one agent; `digest` is for `If-Match`, null when there is no such agent yet."""

    name: str
    digest: str | None
    changes: list[PlannedChange]
    problems: list[Obstacle]
    proposal: str | None
    refused: bool


class OtherAgent(Answer):
    """An agent of the rule that was not named."""

    name: str
    digest: str


class AgentsPlan(Answer):
    """What would change; nothing has."""

    rule: str
    agents: list[PlannedAgent]
    others: list[OtherAgent]


class Provisioned(Answer):
    """An agent as it is now, and the id of the proposal for what waits."""

    agent: Agent
    proposal: str | None
    refused: bool
