"""The simulator finds what it is there to find: each planted bug, within so many schedules."""

from __future__ import annotations

import pytest

from tests.simulation import planted
from tests.simulation.runner import play_all, story_of
from tests.simulation.world import Parts

MOST = 6000

BUGS = {
    "mint before commit": (Parts(issue=planted.mints_before_it_commits), {"I1"}),
    "activation without looking again": (
        Parts(issue=planted.activates_without_looking_again),
        {"I4", "I7", "I8", "I9"},
    ),
    "activation without task and kills": (
        Parts(issue=planted.activates_by_its_own_row_alone),
        {"I7", "I8"},
    ),
    "doubt taken for certainty": (Parts(issue=planted.takes_no_answer_for_no_question), {"I4"}),
    "kills read with their lock": (Parts(store=planted.KillsReadWithTheirLock), {"I8"}),
    "no barrier": (Parts(store=planted.NoBarrier), {"I8"}),
    "no second tap": (Parts(sweep=planted.never_taps_twice), {"I4"}),
    "a tap counted from its record": (Parts(sweep=planted.counts_a_tap_from_its_record), {"I4"}),
    "no fence in the sweep": (Parts(sweep=planted.overwrites_what_moved_meanwhile), {"I4", "I1"}),
    "renewal before its record": (Parts(renew=planted.renews_before_it_writes), {"I3"}),
    "record shortened on a guess": (
        Parts(renew=planted.shortens_what_it_does_not_know),
        {"I3", "I4"},
    ),
    "renewal without looking again": (
        Parts(renew=planted.renews_what_it_read_before),
        {"I3", "I4", "I7", "I8"},
    ),
    "sealed answers given for ever": (
        Parts(fetch=planted.gives_again_what_is_kept),
        {"I5", "I7", "I8"},
    ),
    "sealed answers without task and kills": (
        Parts(fetch=planted.gives_again_what_was_active),
        {"I7", "I8"},
    ),
    "lost words forgotten": (Parts(sweep=planted.forgets_lost_words), {"I4"}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """By the invariant that it breaks, and its seed tells the story."""
    parts, invariants = BUGS[bug]
    found = play_all(range(MOST), parts).failure
    assert found is not None, f"not found in {MOST} schedules"
    kind, _, what = found.what.partition(": ")
    assert (kind, what[:2] in invariants) == ("Violation", True), found
    assert what in story_of(found.seed, parts)
