"""Queries over cuts: what a place is told to refuse, and who looks at it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from valetkey.core.cut import Cut, recut
from valetkey.store import mapping
from valetkey.store.tables import cuts, leases

_NONE = func.jsonb_build_array()


def cut_at(connection: Connection, place: str) -> Cut:
    """What is refused there by the newest generation."""
    row = connection.execute(select(cuts).where(cuts.c.place == place)).mappings().first()
    return _cut_from(dict(row)) if row else Cut(place)


def next_cut(connection: Connection, place: str, slots: int) -> Cut:
    """The next generation for a place, from the leases as they are, under the lock of its row."""
    blank = {"place": place, "generation": 0, "lease_ids": []}
    times = {"at": func.clock_timestamp(), "looked_at": func.clock_timestamp()}
    new = insert(cuts).values(**blank, **times).on_conflict_do_nothing()
    connection.execute(new)
    locked = select(cuts).where(cuts.c.place == place).with_for_update()
    earlier = _cut_from(dict(connection.execute(locked).mappings().one()))
    ending = select(leases).where(
        leases.c.place == place, leases.c.state.in_(("ending", "stuck"))
    )
    rows = connection.execute(ending).mappings().all()  # a later statement than the lock
    now = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    cut = recut(earlier, [mapping.lease_from(dict(row)) for row in rows], slots, now)
    values: dict[str, Any] = {**vars(cut), "lease_ids": list(cut.lease_ids), "at": now}
    values["looked_at"] = now  # whoever writes it looks at it, too
    del values["place"]
    connection.execute(cuts.update().where(cuts.c.place == place).values(**values))
    return cut


def cuts_to_look_at(connection: Connection, minter: str, every: timedelta) -> Sequence[Cut]:
    """The places where something is refused and nobody has looked for so long; now we do."""
    old = func.clock_timestamp() - every
    refusing = (cuts.c.lease_ids != _NONE) | cuts.c.made_before.is_not(None)
    ours = cuts.c.place.startswith(f"{minter} ", autoescape=True)
    taken = cuts.update().where(ours, refusing, cuts.c.looked_at <= old)
    rows = connection.execute(
        taken.values(looked_at=func.clock_timestamp()).returning(cuts)
    ).mappings()
    return [_cut_from(dict(row)) for row in rows]


def _cut_from(row: Mapping[str, Any]) -> Cut:
    values = {name: row[name] for name in ("place", "generation", "made_before")}
    times = {name: row[name] for name in ("until", "prune_at")}
    return Cut(**values, **times, lease_ids=tuple(row["lease_ids"]))
