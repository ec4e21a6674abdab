"""Our own Postgres on a disk that is full: nothing is issued unrecorded, and all ends later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.aside import Apart, Aside
from tests.faults.aside import apart as apart
from tests.faults.ground import (
    ask_for,
    end_everything,
    get,
    leases_of,
    operator,
    start,
    until_ended,
)
from tests.faults.rows import row
from valetkey.core.errors import StoreUnavailable
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.verdicts import Issued

PLENTY = 400


@row("F13")
def test_on_a_full_disk_nothing_leaves_unrecorded_and_all_ends_later(apart: Apart) -> None:
    """Whoever got a credential has an active lease; with room again, all ends with its proof."""
    ground, ours = apart.ground, apart.database
    with ground.house(database_port=ours.port) as house:
        bot = ground.bot(house)
        task = start(house, bot)
        ending = [get(house, bot, ask_for(task)) for _ in range(3)]
        for one in ending:
            revoke_lease(house.broker, operator(), one.lease.id)
        received: list[Issued] = []
        with full(ours):
            with pytest.raises(StoreUnavailable):
                received.extend(get(house, bot, ask_for(task)) for _ in range(PLENTY))
            house.clockwork.start()
        active = {x.id for x in leases_of(house, task) if x.state is LeaseState.ACTIVE}
        assert active == {one.lease.id for one in received}
        end_everything(house)
        for one in ending:
            assert until_ended(house, one.lease.id).proof is Proof.VERIFIED
        ground.at_peace(house)
        assert all(ground.refuses(one.secret.reveal()) for one in received)


@contextmanager
def full(ours: Aside) -> Iterator[None]:
    """Every byte of its disk is taken meanwhile."""
    with ours.superuser() as connection:
        connection.execute("SELECT pg_switch_wal()")  # a whole segment is there to write to
        connection.execute("CREATE TABLE written (id int)")
    filler = ours.home / "filler"
    try:
        _take_all(filler)
        yield
    finally:
        filler.unlink()


def _take_all(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
