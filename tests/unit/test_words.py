"""Words that a newer version wrote."""

from __future__ import annotations

from datetime import UTC, datetime

from valetkey.core.kill import Height, Kill, Reach, may_stop, stops
from valetkey.core.lease import LIVE, UNENDED, LeaseState
from valetkey.core.words import is_known, read_word

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_known_word_is_its_member() -> None:
    """What was written by us is read as what it was."""
    for state in LeaseState:
        assert read_word(LeaseState, state.value) is state
        assert is_known(state)


def test_an_unknown_word_is_no_member_and_keeps_its_text() -> None:
    """It is like nothing that anybody asks for, twice read it is the same, and it can be stored."""
    strange = read_word(LeaseState, "paused")
    assert not is_known(strange)
    assert strange.value == str(strange) == "paused"
    assert strange == read_word(LeaseState, "paused")
    assert strange not in LIVE | UNENDED
    assert all(strange is not state and strange != state for state in LeaseState)
    assert [state.value for state in LeaseState].count("paused") == 0


def test_a_kill_of_an_unknown_height_may_stop_everything_and_ends_nothing() -> None:
    """Nothing new is given under it, and nothing is taken for covered by it."""
    height = read_word(Height, "continent")
    kill = Kill("kill_1", height, "", "why", "opal", NOON)
    for reach in (Reach(), Reach(target="orders-db"), Reach(lease_id="lease_1", owner="")):
        assert may_stop(kill, reach)
        assert not stops(kill, reach)
