"""Queries over leases, kills and facts: what is out, what must stop, what happened."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from psycopg.rows import dict_row, tuple_row
from sqlalchemy import ColumnElement, and_, func, or_, select, union_all

from valetkey.core.admission import Ceilings
from valetkey.core.comparison import Known
from valetkey.core.facts import Fact, HistoryQuery, RecordedFact
from valetkey.core.kill import Height, Kill, Reach, may_stop
from valetkey.core.lease import PROBE, Lease, LeaseState
from valetkey.core.words import read_word
from valetkey.ports import Mine
from valetkey.store import mapping
from valetkey.store.covered import NAMED, covered, ways
from valetkey.store.due import KILLS_UNFINISHED
from valetkey.store.session import BARRIER, Session, all_of, by_id
from valetkey.store.standing import KILLS_OVER
from valetkey.store.tables import facts, fingerprints, kills, leases

NEWEST = 500
_CEILING_REACHED = """
SELECT ceiling_reached(%(agent_id)s, %(task_id)s, %(target)s, %(most)s::bigint[])
"""
_KNOWN = "SELECT id, target, handle->>'name', state, backend_expires_at FROM leases"
LIVE = leases.c.state.in_(("minting", "active"))
UNENDED = leases.c.state != "ended"
KNOWN = leases.c.state.in_([state.value for state in LeaseState])


class Lifecycle(Session):
    """Leases and what ends them."""

    def hold_barrier(self) -> None:
        """Take the kill barrier shared; kills are read in a later statement."""
        self._read_clock(
            f"WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({BARRIER:d}))"  # noqa: S608 - a number of ours
            " SELECT clock_timestamp() FROM held"
        )

    def close_barrier(self) -> None:
        """Take the kill barrier exclusive.

        The clock is read behind it, so that no activation before the kill looks later than it.
        """
        self._connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({BARRIER})")
        self._read_clock("SELECT clock_timestamp()")

    def kills_over(self, reach: Reach) -> Sequence[Kill]:
        """Kills in force over this piece of authority."""
        found = (mapping.kill_from(row) for row in self._each(KILLS_OVER, vars(reach)))
        return [kill for kill in found if may_stop(kill, reach)]

    def has_subject(self, height: Height, subject: str) -> bool:
        """Whether anything of ours is known under this name at this height."""
        under = covered(Kill("", height, subject, "", "", self.now()))
        known = select(leases.c.id).where(under).exists()
        beside = (select(column).where(column == subject) for column in NAMED.get(height, ()))
        found = select(or_(known, *(named.exists() for named in beside)))
        return bool(self._connection.execute(found).scalar_one())

    def kills_in_force(self) -> Sequence[Kill]:
        """Every kill that is not released."""
        query = select(kills).where(kills.c.released_at.is_(None)).order_by("at")
        return [mapping.kill_from(row) for row in self._many(query)]

    def kills_unfinished(self) -> Sequence[Kill]:
        """The kills in force under which something lives."""
        rows = self._run(dict_row, KILLS_UNFINISHED, {}).fetchall()
        return [mapping.kill_from(row) for row in rows]

    def kill(self, kill_id: str) -> Kill | None:
        """One kill, locked."""
        row = self._one(by_id(kills, "change"), {"id": kill_id})
        return mapping.kill_from(row) if row else None

    def add_kill(self, kill: Kill) -> None:
        """Write a new kill."""
        self._insert(kills, mapping.kill_row(kill))

    def save_kill(self, kill: Kill) -> None:
        """Write a kill as it is now."""
        self._update(kills, mapping.kill_row(kill))

    def lease(self, lease_id: str, *, lock: bool = False) -> Lease | None:
        """One lease."""
        row = self._one(by_id(leases, "change" if lock else ""), {"id": lease_id})
        return mapping.lease_from(row) if row else None

    def add_lease(self, lease: Lease) -> None:
        """Write a new lease."""
        self._insert(leases, mapping.lease_row(lease))

    def save_lease(self, lease: Lease) -> bool:
        """Write a lease if its fence has not moved; the row gets the next one."""
        row = {**mapping.lease_row(lease), "fence": lease.fence + 1}
        values = {name: value for name, value in row.items() if name not in _FIXED}
        return self._change(leases, values, {"id": lease.id, "fence": lease.fence}) == 1

    def leases_of_task(self, task_id: str) -> Sequence[Lease]:
        """Every lease of a task, oldest first."""
        return self._leases(leases.c.task_id == task_id)

    def leases_of_grant(self, grant_id: str) -> Sequence[Lease]:
        """Every lease of a grant, oldest first."""
        return self._leases(leases.c.grant_id == grant_id)

    def leases(
        self, state: str | None, agent_id: str | None, owner: str | None
    ) -> Sequence[Lease]:
        """The newest leases, of a state, an agent, an owner."""
        conditions = all_of(
            leases.c.state == state if state else None,
            leases.c.agent_id == agent_id if agent_id else None,
            leases.c.owner == owner if owner else None,
        )
        query = select(leases).where(*conditions).order_by(leases.c.id.desc()).limit(NEWEST)
        return [mapping.lease_from(row) for row in self._many(query)]

    def unended_leases(self) -> Sequence[Lease]:
        """Everything whose end is not proven."""
        return self._leases(UNENDED)

    def unended_names(self, minter: str) -> Sequence[Known]:
        """What each is called outside."""
        return self._known(f"{_KNOWN} WHERE state <> 'ended' AND minter = %(minter)s", minter)

    def names_of(self, lease_ids: Sequence[str]) -> Sequence[Known]:
        """The same of these, ended or not."""
        return self._known(f"{_KNOWN} WHERE id = ANY(%(ids)s)", "", list(lease_ids))

    def leases_of_secret(self, prints: Sequence[str]) -> Sequence[Lease]:
        """Leases of a secret with one of these fingerprints, oldest first."""
        found = select(fingerprints.c.lease_id).where(fingerprints.c.fingerprint.in_(prints))
        return self._leases(leases.c.id.in_(found))

    def ceiling_reached(self, reach: Reach, ceilings: Ceilings) -> str | None:
        """The first ceiling that one more lease would go beyond; locked until we commit."""
        most = [ceilings.everything, ceilings.target, ceilings.agent, ceilings.task]
        values = {**vars(reach), "most": most}
        found = self._run_before(tuple_row, _CEILING_REACHED, values).fetchone()
        return found[0] if found else None

    def unended_at(self, place: str) -> Sequence[Lease]:
        """What has not ended of what a place may refuse, locked."""
        query = select(leases).where(UNENDED, leases.c.place == place)
        query = query.order_by(leases.c.id).with_for_update()
        return [mapping.lease_from(row) for row in self._many(query)]

    def unended_probes(self, target: str) -> Sequence[Lease]:
        """The broker's own leases of a target that have not ended."""
        return self._leases(UNENDED, leases.c.target == target, leases.c.cut_by == PROBE)

    def live_leases(self, kill: Kill, limit: int) -> Sequence[Lease]:
        """Minting or active leases that a kill covers, locked.

        Those found in several ways are collected first, as an array: by order and limit alone the
        planner would walk through all leases there ever were.
        """
        under = ways(kill)
        which = under[0]
        if len(under) > 1:
            found = union_all(*(select(leases.c.id).where(LIVE, way) for way in under))
            which = leases.c.id == func.any(func.array(found.scalar_subquery()))
        query = select(leases).where(LIVE, which).order_by(leases.c.id).limit(limit)
        return [mapping.lease_from(row) for row in self._many(query.with_for_update())]

    def leases_under(self, kill: Kill) -> Sequence[Lease]:
        """What a kill covers and had not ended when it was ordered."""
        ended_since = and_(leases.c.state == "ended", leases.c.ended_at >= kill.at)
        unended_then = or_(UNENDED, ended_since)
        before = leases.c.created_at <= (kill.released_at or self.now())
        return self._leases(covered(kill), unended_then, before)

    def recent_ends(self, limit: int) -> Sequence[Lease]:
        """The leases that ended last, newest first."""
        query = select(leases).where(leases.c.state == "ended")
        query = query.order_by(leases.c.ended_at.desc()).limit(limit)
        return [mapping.lease_from(row) for row in self._many(query)]

    def left_alone(self, minters: Collection[str], limit: int) -> Sequence[Lease]:
        """Unended leases that only another replica can end."""
        strange = or_(~KNOWN, leases.c.minter.not_in(minters))
        query = select(leases).where(UNENDED, strange).order_by(leases.c.id).limit(limit)
        return [mapping.lease_from(row) for row in self._many(query)]

    def claim_due(
        self,
        limit: int,
        claim: timedelta,
        only: Sequence[str],
        but_targets: Sequence[str],
        mine: Mine | None = None,
    ) -> Sequence[Lease]:
        """Claim due leases by pushing `due_at`; the claimer holds the new fence."""
        conditions = all_of(
            UNENDED,  # the index has this word for word
            KNOWN,
            leases.c.due_at <= func.statement_timestamp(),  # an index can be searched by it
            leases.c.id.in_(only) if only else None,
            leases.c.target.not_in(but_targets) if but_targets else None,
            _of(mine) if mine is not None else None,
        )
        due = (
            select(leases.c.id)
            .where(*conditions)
            .order_by(leases.c.due_at, leases.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        claimed = (
            leases.update()
            .where(leases.c.id == due.c.id)
            .values(
                due_at=func.clock_timestamp() + claim,
                tries=leases.c.tries + 1,
                fence=leases.c.fence + 1,
            )
            .returning(leases)
        )
        rows = self._connection.execute(claimed).mappings().all()
        return [mapping.lease_from(dict(row)) for row in rows]

    def record(self, fact: Fact) -> None:
        """Add a fact to what this transaction writes."""
        self._facts.append(mapping.fact_row(fact))

    def history(self, query: HistoryQuery) -> Sequence[RecordedFact]:
        """Newest first; pages by the fact's number, never by time alone."""
        self.flush()
        found = select(facts).where(*_matching(query)).order_by(facts.c.number.desc())
        return [mapping.fact_from(row) for row in self._many(found.limit(query.limit))]

    def _known(
        self, statement: str, minter: str, ids: Sequence[str] = ()
    ) -> Sequence[Known]:
        rows = self._run(tuple_row, statement, {"minter": minter, "ids": ids}).fetchall()
        return [
            Known(lease_id, target, name, read_word(LeaseState, state), until)
            for lease_id, target, name, state, until in rows
        ]

    def _leases(self, *conditions: ColumnElement[bool]) -> Sequence[Lease]:
        query = select(leases).where(*conditions).order_by(leases.c.id)
        return [mapping.lease_from(row) for row in self._many(query)]


def _of(mine: Mine) -> ColumnElement[bool]:
    forsaken = leases.c.due_at <= func.statement_timestamp() - mine.forsaken
    ours = or_(leases.c.minter.in_(mine.minters), forsaken)
    return ours if mine.target is None else and_(ours, leases.c.target == mine.target)


_FIXED = frozenset(
    {"id", "grant_id", "task_id", "agent_id", "owner", "target", "scope", "catalogue_digest"}
    | {"minter", "handle", "place", "created_at", "requested_ttl_seconds", "cut_by", "end_class"}
)



def _matching(query: HistoryQuery) -> list[ColumnElement[bool]]:
    exact: dict[str, Any] = {
        "agent_id": query.agent_id,
        "owner": query.owner,
        "task_id": query.task_id,
        "grant_id": query.grant_id,
        "lease_id": query.lease_id,
        "target": query.target,
        "outcome": query.outcome,
        "kind": query.kind,
    }
    conditions = [facts.c[name] == value for name, value in exact.items() if value is not None]
    conditions += all_of(
        facts.c.at >= query.since if query.since else None,
        facts.c.at < query.until if query.until else None,
        facts.c.number < query.before if query.before else None,
    )
    return conditions
