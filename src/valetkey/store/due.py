"""What a tick finds to do, in one statement that costs next to nothing while there is nothing.

Each part looks into a partial index of what is open, waiting or not ended. A kill is unfinished
while something lives under it; that must say of every lease what `core.kill.stops` says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from valetkey.core.kill import VENDOR
from valetkey.ports import Duty

_LIVE = "FROM leases l WHERE l.state IN ('minting', 'active')"
_BEYOND = """
EXISTS (
    SELECT FROM string_to_table(rtrim(split_part(k.subject, '{', 2), '}'), ',') AS killed(part)
    WHERE NOT EXISTS (
        SELECT FROM string_to_table(rtrim(split_part(l.scope, '{', 2), '}'), ',') AS held(part)
        WHERE held.part = killed.part
           OR right(killed.part, 1) = '/' AND starts_with(held.part, killed.part)))
"""
"""A parameter of the killed scope that the held one does not have, or has wider."""
_ON_BEHALF = """
EXISTS (SELECT FROM delegations d
    WHERE d.id = {task}.delegation_id AND k.subject IN (d.principal, d.email))
"""
_BELOW = f"""
EXISTS (SELECT FROM tasks c JOIN tasks up ON up.id = ANY(c.ancestors)
    JOIN agents a ON a.id = up.agent_id
    WHERE c.state = 'open' AND c.parent_id IS NOT NULL
    AND EXISTS (SELECT {_LIVE} AND l.task_id = c.id) AND (k.subject = CASE k.height
        WHEN 'agent' THEN up.agent_id WHEN 'task' THEN up.id WHEN 'owner' THEN up.owner
        WHEN 'issuer' THEN up.issuer WHEN 'vendor' THEN a.labels ->> '{VENDOR}' END
        OR k.height = 'person' AND {_ON_BEHALF.format(task="up")}))
"""
"""A lease of a task that was opened under a killed one, sought from the children, who are few."""
_OF_TARGET = f"""
k.subject = (SELECT l.target {_LIVE} AND l.target >= k.subject ORDER BY l.target LIMIT 1)
"""
"""The first target from there on; whatever the planner thinks of targets, an index answers it."""
_UNFINISHED = f"""
k.released_at IS NULL AND (CASE k.height
WHEN 'everything' THEN EXISTS (SELECT {_LIVE})
WHEN 'agent' THEN EXISTS (SELECT {_LIVE} AND l.agent_id = k.subject)
WHEN 'target' THEN {_OF_TARGET}
WHEN 'lease' THEN EXISTS (SELECT {_LIVE} AND l.id = k.subject)
WHEN 'owner' THEN EXISTS (SELECT {_LIVE} AND l.owner = k.subject)
WHEN 'task' THEN EXISTS (SELECT {_LIVE} AND l.task_id = k.subject)
    OR EXISTS (SELECT FROM tasks t WHERE t.id = k.subject AND t.state = 'open')
WHEN 'vendor' THEN EXISTS (SELECT {_LIVE} AND l.agent_id IN (
    SELECT a.id FROM agents a WHERE a.labels ->> '{VENDOR}' = k.subject))
WHEN 'issuer' THEN EXISTS (SELECT {_LIVE} AND EXISTS (
    SELECT FROM tasks t WHERE t.id = l.task_id AND t.issuer = k.subject))
WHEN 'person' THEN EXISTS (SELECT {_LIVE} AND l.task_id IN (
    SELECT t.id FROM tasks t WHERE {_ON_BEHALF.format(task="t")}))
WHEN 'scope' THEN EXISTS (SELECT {_LIVE} AND l.target = split_part(k.subject, ':', 1)
    AND split_part(l.scope, '{{', 1) = split_part(k.subject, '{{', 1) AND NOT {_BEYOND})
ELSE false END OR {_BELOW})
"""  # noqa: S608 - a text of ours
KILLS_UNFINISHED: Final = f"SELECT k.* FROM kills k WHERE {_UNFINISHED} ORDER BY k.at, k.id"  # noqa: S608
_OPEN = "SELECT FROM tasks WHERE state = 'open'"
_LEFT = """
SELECT FROM tasks c JOIN tasks p ON p.id = c.parent_id
WHERE c.state = 'open' AND c.parent_id IS NOT NULL AND p.state = 'ended'
"""
_NOW = "statement_timestamp()"
_LOOK = {
    Duty.GRANTS: f"""
EXISTS (SELECT FROM grants WHERE state IN ('waiting', 'approved') AND waits_until <= {_NOW})
""",
    Duty.TASKS: f"EXISTS ({_OPEN} AND deadline_at <= {_NOW})"
    f" OR EXISTS ({_OPEN} AND silent_at <= {_NOW})"
    f" OR EXISTS ({_LEFT})",
    Duty.KILLS: f"EXISTS (SELECT FROM kills k WHERE {_UNFINISHED})",
    Duty.LEASES: f"EXISTS (SELECT FROM leases WHERE state <> 'ended' AND due_at <= {_NOW})",
}
DUE: Final = "SELECT " + ", ".join(_LOOK.values())


def duties_of(row: Sequence[bool]) -> frozenset[Duty]:
    """The duties that a row of `DUE` says have something to do."""
    return frozenset(duty for duty, due in zip(_LOOK, row, strict=True) if due)
