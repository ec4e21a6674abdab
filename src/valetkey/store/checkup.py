"""Broken invariants, each found by one query over all rows; nothing is changed.

Instants of two replicas may differ by what a reading of the clock may lag, hence the seconds of
grace where two of them are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice

from psycopg.rows import tuple_row
from sqlalchemy import and_, or_, select

from valetkey.core.invariants import Rule, Terms
from valetkey.core.kill import Height, Kill
from valetkey.core.scope import Scope
from valetkey.store import mapping
from valetkey.store.covered import covered
from valetkey.store.session import Session
from valetkey.store.tables import kills, leases

GRACE = timedelta(seconds=5)
_LOOKED_AT = "(l.state <> 'ended' OR l.ended_at >= %(since)s)"
_LIVE = leases.c.state.in_(("minting", "active"))
_CHANGES = (Height.VENDOR, Height.ISSUER)
"""What an agent or a task is part of may change; they say nothing of what was."""

_QUERIES: Mapping[Rule, str] = {
    Rule.PAST_END: "SELECT id FROM leases WHERE state = 'active' AND expires_at < %(late)s",
    Rule.OVERLONG: (
        "SELECT id FROM leases WHERE state = 'active' AND expires_at > backend_expires_at"
    ),
    Rule.TWO_LIVE: """
        SELECT grant_id FROM leases WHERE state IN ('minting', 'active') AND grant_id IS NOT NULL
        GROUP BY grant_id HAVING count(*) > 1""",
    Rule.IN_ENDED_TASK: """
        SELECT l.id FROM leases l JOIN tasks t ON t.id = l.task_id
        WHERE l.state IN ('minting', 'active') AND t.state = 'ended'""",
    Rule.BORN_LATE: """
        SELECT l.id FROM leases l JOIN tasks t ON t.id = l.task_id
        WHERE LOOKED_AT AND l.created_at > t.ended_at + interval '5 s'""",
    Rule.FORGOTTEN: """
        SELECT id FROM leases WHERE state <> 'ended' AND (due_at IS NULL
        OR due_at > greatest(%(latest)s, second_tap_at, backend_expires_at))""",
    Rule.UNTOLD: """
        SELECT l.id FROM leases l LEFT JOIN LATERAL (
            SELECT f.body ->> 'state' AS state FROM facts f
            WHERE f.lease_id = l.id AND f.body ? 'state' ORDER BY f.number DESC LIMIT 1
        ) AS told ON true
        WHERE LOOKED_AT AND told.state IS DISTINCT FROM l.state""",
    Rule.FACT_OF_NOTHING: """
        SELECT DISTINCT f.lease_id FROM facts f
        WHERE f.at >= %(since)s AND f.body ? 'fence'
        AND NOT EXISTS (SELECT FROM leases l WHERE l.id = f.lease_id)""",
    Rule.FENCE_BACK: """
        SELECT DISTINCT id FROM (
            SELECT l.id, l.fence AS now, (f.body ->> 'fence')::bigint AS fence,
                   lag((f.body ->> 'fence')::bigint) OVER (PARTITION BY l.id ORDER BY f.number)
                       AS before
            FROM leases l JOIN facts f ON f.lease_id = l.id AND f.body ? 'fence'
            WHERE LOOKED_AT
        ) AS each WHERE fence < before OR fence > now""",
    Rule.DENIED: """
        SELECT l.id FROM leases l JOIN grants g ON g.id = l.grant_id
        JOIN decisions d ON d.id = g.decision_id
        WHERE l.state <> 'ended' AND d.outcome = 'deny'""",
    Rule.UNCOUNTED: """
        SELECT coalesce(l.target, f.target) FROM
            (SELECT target, count(*) AS many FROM leases GROUP BY target) AS l
        FULL JOIN
            (SELECT target, count(*) AS many FROM facts
             WHERE kind IN ('LeaseWritten', 'LeaseAdopted') GROUP BY target) AS f
        ON f.target = l.target WHERE l.many IS DISTINCT FROM f.many""",
    Rule.GIVEN_UP_BY_NOBODY: """
        SELECT id FROM leases WHERE state = 'ended' AND proof = 'written_off'
        AND (coalesce(written_off_by, '') = '' OR coalesce(written_off_reason, '') = '')""",
}
_WANTED = """
SELECT min(l.id), l.scope, t.scopes FROM leases l JOIN tasks t ON t.id = l.task_id
WHERE l.state <> 'ended' GROUP BY l.scope, t.scopes
"""


class Checkup(Session):
    """The queries of the doctor."""

    def broken(self, terms: Terms) -> Sequence[tuple[Rule, str]]:
        """Each broken rule with the id of what breaks it."""
        found = [(rule, about) for rule in _QUERIES for about in self._found(rule, vars(terms))]
        found += [(Rule.WIDER, about) for about in islice(self._wider(), terms.limit)]
        return [*found, *self._under_kills(terms)]

    def _found(self, rule: Rule, values: Mapping[str, object]) -> list[str]:
        limited = _QUERIES[rule].replace("LOOKED_AT", _LOOKED_AT) + " LIMIT %(limit)s"
        return [str(row[0]) for row in self._run(tuple_row, limited, values).fetchall()]

    def _wider(self) -> Iterator[str]:
        """One lease for each scope that is within none of its task's."""
        for lease_id, scope, allowed in self._run(tuple_row, _WANTED, {}).fetchall():
            wanted = Scope.parse(scope)
            if not any(wanted <= Scope.parse(each) for each in allowed):
                yield lease_id

    def _under_kills(self, terms: Terms) -> Iterator[tuple[Rule, str]]:
        lately = or_(kills.c.released_at.is_(None), kills.c.released_at >= terms.since)
        for row in self._many(select(kills).where(kills.c.at < terms.late, lately)):
            kill = mapping.kill_from(row)
            if kill.released_at is None:
                under = select(leases.c.id).where(_LIVE, covered(kill)).limit(terms.limit)
                yield from ((Rule.UNDER_KILL, x["id"]) for x in self._many(under))
            if kill.height not in _CHANGES:
                yield from self._activated_under(kill, terms)

    def _activated_under(self, kill: Kill, terms: Terms) -> Iterator[tuple[Rule, str]]:
        begun = leases.c.activated_at > kill.at + GRACE
        until = leases.c.activated_at < (kill.released_at or terms.latest)
        found = select(leases.c.id).where(and_(begun, until), covered(kill)).limit(terms.limit)
        yield from ((Rule.ACTIVATED_UNDER_KILL, row["id"]) for row in self._many(found))
