"""The real flows hold every invariant under as many schedules as there is time for.

VALETKEY_SIM_SCHEDULES: how many (without it: what fits into twenty seconds).
VALETKEY_SIM_FROM: the first seed. VALETKEY_SIM_SEED: play and tell only this one.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.rows import row
from tests.simulation.runner import play, play_many, story_of

SECONDS = 20.0
FOUND = {
    239: "an attempt found and ended a credential, and died before it could say so",
    604: "a replica slept over the quiet time between its tap and its record",
    1587: "a sweep wrote over what had moved meanwhile",
    102188: "a slow first transaction gave the mint time beyond what its lease named",
    204482: "disabling an agent and ending its task waited for each other",
}


@row("F08", "F34", "F35")
def test_every_invariant_holds_under_every_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    """Two issuers, two sweepers, killers and others, a back end with late effects: all is kept."""
    alone = os.environ.get("VALETKEY_SIM_SEED")
    wanted = os.environ.get("VALETKEY_SIM_SCHEDULES")
    first = int(os.environ.get("VALETKEY_SIM_FROM", "0"))
    if alone is not None:
        with capsys.disabled():
            print(story_of(int(alone)))
        assert play(int(alone)).failure is None
        return
    tally = play_many(first, int(wanted or 10**6), 3600.0 if wanted else SECONDS)
    with capsys.disabled():
        print(
            f"\n{tally.schedules} schedules from seed {first}, {tally.steps} steps,"
            f" {tally.handed_out} secrets handed out"
        )
    if tally.failure is not None:
        pytest.fail(f"{tally.failure.what}\n{story_of(tally.failure.seed)}")
    assert tally.handed_out > tally.schedules / 4


@pytest.mark.parametrize(("seed", "once"), FOUND.items())
def test_a_schedule_that_once_broke_something_no_longer_does(seed: int, once: str) -> None:
    """Each of these seeds found a defect, real or planted; the stories are in `tests/flows`."""
    assert play(seed).failure is None, once


def test_a_seed_is_a_story_told_the_same_way_each_time() -> None:
    """All chance comes from the seed, so that a failing one can be told and told again."""
    assert story_of(7) == story_of(7)
    assert "again with VALETKEY_SIM_SEED=7" in story_of(7)
