"""What `/v1/delegations` answers with, as models and as the JSON that fits them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from valetkey.flows.on_behalf import SeenDelegation
from valetkey.web.api.answers import Answer


class OnBehalfOf(Answer):
    """A person, as their own proof said when they let the agent act for them."""

    principal: str
    email: str
    groups: list[str]


class Delegation(Answer):
    """What a person lets an agent do for them; `live`: it gives authority now."""

    id: str
    on_behalf_of: OnBehalfOf
    agent_id: str
    agent: str
    scopes: list[str]
    source: Literal["login", "may_act"]
    live: bool
    given_at: datetime
    until: datetime
    withdrawn_at: datetime | None
    withdrawn_by: str | None


class Delegations(Answer):
    """Delegations, newest first."""

    items: list[Delegation]


def told(seen: SeenDelegation) -> dict[str, Any]:
    """A delegation as JSON."""
    one = seen.delegation
    return {
        "id": one.id,
        "on_behalf_of": {**vars(one.person), "groups": list(one.person.groups)},
        "agent_id": one.agent_id,
        "agent": seen.agent,
        "scopes": [str(scope) for scope in one.scopes],
        "source": one.source,
        "live": seen.live,
        "given_at": one.given_at.isoformat(),
        "until": one.until.isoformat(),
        "withdrawn_at": one.withdrawn_at.isoformat() if one.withdrawn_at else None,
        "withdrawn_by": one.withdrawn_by,
    }
