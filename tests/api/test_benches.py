"""The benches of the doors, at a size at which they only show that they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report
from bench.doors.__main__ import BEARER, Plan, proof, rates, verified
from bench.doors.ground import NAME, prepare
from bench.doors.visitors import Visiting
from bench.served import Server
from tests.contract.databases import Databases
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.process import port_for

SMALL = Plan(rounds=1, seconds=0.1, clients=(2,))


def test_the_benches_of_the_doors_answer_every_request(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part finds a number greater than nothing, and no request failed."""
    name = databases.fresh()
    kept = DataFolder.at(tmp_path / "kept")
    urls = databases.owner(name), databases.app(name)
    ground = prepare(tmp_path, urls, port_for(kept, "bench"))
    with Server(ground, NAME, BEARER) as server, Visiting(ground) as visitors:
        found = [*verified(SMALL), *rates(server, visitors, SMALL), *proof(visitors, SMALL)]
    assert len(found) == 4 + 3 + 1
    assert all(min(one.ratios) > 0 for one in found)
    report.summary(found)
    told = capsys.readouterr().out
    assert "FAILED" not in told
    assert "| token exchange, 2 client(s), per second | (none set) |" in told
