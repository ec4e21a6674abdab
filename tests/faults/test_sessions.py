"""What people do inside the target while their credential ends."""

from __future__ import annotations

import psycopg
import pytest

from tests.faults.ground import Ground, ask_for, get, start
from valetkey.bootstrap import House
from valetkey.core.lease import Proof
from valetkey.flows.end_task import end_task


def test_an_open_session_drops_when_its_task_ends(ground: Ground, house: House) -> None:
    """Ending a task cuts the session itself, and the proof is our own look."""
    bot = ground.bot(house)
    task = start(house, bot)
    secret = get(house, bot, ask_for(task)).secret.reveal()
    with ground.connect(secret) as session:
        assert session.execute("SELECT count(*) FROM orders").fetchone() == (18,)
        receipt = end_task(house.broker, bot, task.id)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert receipt.complete
    assert [lease.proof for lease in receipt.leases] == [Proof.VERIFIED]
    assert ground.refuses(secret)
