"""Which leases a kill covers, as a condition that PostgreSQL can look for.

It must say of every lease what `core.kill.stops` says of its reach.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, false, func, or_, select, true

from valetkey.core.kill import VENDOR, Height, Kill
from valetkey.core.scope import Scope
from valetkey.store.people import delegations, of_person
from valetkey.store.tables import agents, bindings, leases, tasks

_OF_VENDOR = agents.c.labels[VENDOR].astext
_COLUMNS: Mapping[Height, Column[Any]] = {
    Height.AGENT: leases.c.agent_id,
    Height.TASK: leases.c.task_id,
    Height.TARGET: leases.c.target,
    Height.LEASE: leases.c.id,
    Height.OWNER: leases.c.owner,
}
_CHILD, _UP = tasks.alias("child"), tasks.alias("up")
_ABOVE: Mapping[Height, Column[Any]] = {
    Height.AGENT: _UP.c.agent_id,
    Height.TASK: _UP.c.id,
    Height.OWNER: _UP.c.owner,
}
NAMED: Mapping[Height, Sequence[ColumnElement[Any]]] = {
    Height.AGENT: (agents.c.id,),
    Height.TASK: (tasks.c.id,),
    Height.OWNER: (agents.c.owner,),
    Height.VENDOR: (_OF_VENDOR,),
    Height.ISSUER: (tasks.c.issuer, bindings.c.issuer),
    Height.PERSON: (delegations.c.principal, delegations.c.email),
}
"""Where a subject may be known although no lease was ever made under it."""


def covered(kill: Kill) -> ColumnElement[bool]:
    """The leases under a kill; raises InvalidRequest for a scope that cannot be read."""
    return or_(*ways(kill))


def ways(kill: Kill) -> Sequence[ColumnElement[bool]]:
    """The ways in which a lease may be under a kill, each of which an index can be searched by.

    Raises InvalidRequest for a scope that cannot be read.
    """
    match kill.height:
        case Height.EVERYTHING:
            return (true(),)
        case Height.VENDOR:
            of_vendor = select(agents.c.id).where(kill.subject == _OF_VENDOR)
            return leases.c.agent_id.in_(of_vendor), _below(_UP.c.agent_id.in_(of_vendor))
        case Height.ISSUER:
            of_issuer = select(tasks.c.id).where(tasks.c.issuer == kill.subject)
            return leases.c.task_id.in_(of_issuer), _below(_UP.c.issuer == kill.subject)
        case Height.PERSON:
            given = select(delegations.c.id).where(of_person(kill.subject))
            resting = select(tasks.c.id).where(tasks.c.delegation_id.in_(given))
            return leases.c.task_id.in_(resting), _below(_UP.c.delegation_id.in_(given))
        case Height.SCOPE:
            return (_within(Scope.parse(kill.subject)),)
        case Height.AGENT | Height.TASK | Height.OWNER:
            below = _below(_ABOVE[kill.height] == kill.subject)
            return _COLUMNS[kill.height] == kill.subject, below
        case height if height in _COLUMNS:
            return (_COLUMNS[height] == kill.subject,)
        case _:
            return (false(),)  # a height that only a newer version knows


def _below(killed: ColumnElement[bool]) -> ColumnElement[bool]:
    """Leases of tasks that were opened under one of which this is true.

    The tasks are found once, as an array, so that an index on leases can be searched by them.
    """
    above = _UP.c.id == func.any(_CHILD.c.ancestors)
    found = select(_CHILD.c.id).join(_UP, above).where(_CHILD.c.parent_id.is_not(None), killed)
    return leases.c.task_id == func.any(func.array(found.scalar_subquery()))


def _within(killed: Scope) -> ColumnElement[bool]:
    """Scopes no wider than this one; leases hold them as `Scope` writes them."""
    action = func.split_part(leases.c.scope, "{", 1) == f"{killed.target}:{killed.name}"
    parts = (leases.c.scope.regexp_match(_part(*pair)) for pair in killed.parameters)
    return and_(leases.c.target == killed.target, action, *parts)


def _part(key: str, top: str) -> str:
    """One parameter, exactly or below a prefix, as it stands between braces and commas."""
    below = "[^,}]*" if top.endswith("/") else ""
    return f"[{{,]{key}={re.escape(top)}{below}[,}}]"
