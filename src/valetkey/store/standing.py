"""How a piece of authority stands, in one statement: its task, its agent, and the kills over it.

It must come in a later statement than the barrier, so that it sees every kill in force.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, and_, bindparam, func, null, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from valetkey.core.agent import Agent
from valetkey.core.delegation import Link
from valetkey.core.kill import VENDOR, Height, Kill, Reach, may_stop
from valetkey.core.on_behalf import Delegation
from valetkey.core.task import Task
from valetkey.ports import Standing
from valetkey.store import mapping
from valetkey.store.people import delegations
from valetkey.store.tables import agents, kills, tasks


def covering(
    *person: ColumnElement[Any], **subjects: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Kills in force over everything, or over one of these subjects, named by its height.

    `person` is by what a person on whose behalf it is may be named.

    Kills of scopes come for every scope of the target, and those of heights we do not know for
    everything; which of them cover, `may_stop` says.
    """
    each = (
        and_(kills.c.height == height, kills.c.subject == subject)
        for height, subject in subjects.items()
    )
    scopes = and_(
        kills.c.height == "scope",
        func.split_part(kills.c.subject, ":", 1) == subjects["target"],
    )
    whom = and_(kills.c.height == "person", kills.c.subject.in_(person))
    strange = and_(*(kills.c.height != height.value for height in Height))
    anything = or_(kills.c.height == "everything", strange)
    return and_(kills.c.released_at.is_(None), or_(anything, scopes, whom, *each))


def given(name: str) -> ColumnElement[Any]:
    """A text given when the statement is run; NULL when there is none."""
    return bindparam(name, type_=Text)


def _with_kills(**also: ColumnElement[Any]) -> Select[Any]:
    """Tasks with agents and delegations, and the kills in force over each and these subjects."""
    over = covering(
        delegations.c.principal,
        delegations.c.email,
        agent=agents.c.id,
        task=tasks.c.id,
        owner=tasks.c.owner,
        vendor=agents.c.labels[VENDOR].astext,
        issuer=tasks.c.issuer,
        **also,
    )
    whose = agents.c.id == tasks.c.agent_id
    resting = delegations.c.id == tasks.c.delegation_id
    joined = select(tasks, agents, delegations, kills).join_from(tasks, agents, whose)
    return joined.outerjoin(delegations, resting).outerjoin(kills, over)


STANDING = (
    _with_kills(target=given("target"), lease=given("lease_id"))
    .where(tasks.c.id == bindparam("task_id"))
    .with_for_update(read=True, of=tasks)
)
ABOVE = (
    _with_kills(target=null())
    .where(tasks.c.id == func.any(bindparam("ancestors", type_=ARRAY(Text))))
    .order_by(func.cardinality(tasks.c.ancestors))
)
"""The same of the tasks above one, from the root down."""
KILLS_OVER = select(kills).where(
    covering(
        given("person"),
        given("person_email"),
        agent=given("agent_id"),
        task=given("task_id"),
        target=given("target"),
        lease=given("lease_id"),
        owner=given("owner"),
        vendor=given("vendor"),
        issuer=given("issuer"),
    )
)


def standing_from(
    rows: Sequence[tuple[Any, ...]], scope: str | None, lease_id: str | None
) -> Standing | None:
    """One row for each kill, or one without; None when there is no such task."""
    if not rows:
        return None
    (task, agent, delegation), over = _read(rows)
    person = delegation.person if delegation else None
    reach = Reach(
        agent_id=agent.id,
        task_id=task.id,
        target=scope.partition(":")[0] if scope else None,
        lease_id=lease_id,
        owner=task.owner,
        vendor=agent.labels.get(VENDOR),
        issuer=task.issuer,
        scope=scope,
        person=person.principal if person else None,
        person_email=person.email if person else None,
    )
    covering_it = tuple(kill for kill in over if may_stop(kill, reach))
    return Standing(task, agent, covering_it, delegation=delegation)


def under(standing: Standing, rows: Sequence[tuple[Any, ...]]) -> Standing:
    """The same with the tasks above it, and the kills over them."""
    above: list[Link] = []
    over = list(standing.kills)
    for task_id in standing.task.ancestors:
        link, kills_over = _read([row for row in rows if row[0] == task_id])
        above.append(Link(*link))
        over += [kill for kill in kills_over if kill not in over]
    return replace(standing, above=tuple(above), kills=tuple(over))


def _read(
    rows: Sequence[tuple[Any, ...]],
) -> tuple[tuple[Task, Agent, Delegation | None], list[Kill]]:
    """One task of several rows, its agent and delegation, and the kills that were joined to it."""
    task, agent, delegation = (_part(rows[0], *which) for which in _PARTS[:3])
    kills_over = [one for row in rows if (one := _part(row, *_PARTS[3])) is not None]
    whose = mapping.delegation_from(delegation) if delegation else None
    read = (mapping.task_from(task or {}), mapping.agent_from(agent or {}), whose)
    return read, [mapping.kill_from(kill) for kill in kills_over]


def _part(row: tuple[Any, ...], names: list[str], part: slice) -> dict[str, Any] | None:
    """One table's part of a joined row; None where nothing was joined."""
    values = row[part]
    return dict(zip(names, values, strict=True)) if values[0] is not None else None


def _parts(*tables: Table) -> Iterator[tuple[list[str], slice]]:
    """Which part of a joined row is which table's."""
    at = 0
    for table in tables:
        names = [column.name for column in table.columns]
        yield names, slice(at, at + len(names))
        at += len(names)


_PARTS = tuple(_parts(tasks, agents, delegations, kills))
