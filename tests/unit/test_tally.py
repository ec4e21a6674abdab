"""What a difference of tallies means."""

from __future__ import annotations

import pytest

from valetkey.core.tally import Doubt, Tallies, Tally, doubt

FIVE, SIX, OTHER_SIX, SEVEN = Tally(5, "a"), Tally(6, "b"), Tally(6, "c"), Tally(7, "d")


@pytest.mark.parametrize(
    ("ours", "there", "meant"),
    [
        (Tallies(), None, None),
        (Tallies(None, FIVE), None, None),
        (Tallies(FIVE), FIVE, None),
        (Tallies(FIVE, SIX), FIVE, None),
        (Tallies(FIVE, SIX), SIX, None),
        (Tallies(), FIVE, Doubt.WE_ARE_OLDER),
        (Tallies(FIVE), SIX, Doubt.WE_ARE_OLDER),
        (Tallies(FIVE), SEVEN, Doubt.WE_ARE_OLDER),
        (Tallies(FIVE, SIX), SEVEN, Doubt.WE_ARE_OLDER),
        (Tallies(SIX), None, Doubt.WITNESS_IS_OLDER),
        (Tallies(SIX), FIVE, Doubt.WITNESS_IS_OLDER),
        (Tallies(SIX), OTHER_SIX, Doubt.TWIN),
        (Tallies(FIVE, SIX), OTHER_SIX, Doubt.TWIN),
    ],
)
def test_every_difference_has_one_meaning(
    ours: Tallies, there: Tally | None, meant: Doubt | None
) -> None:
    """Neither our last nor our coming one: then one side is a copy, or there are two of us."""
    assert doubt(ours, there) is meant


def test_the_next_tally_is_written_down_before_it_is_noted() -> None:
    """Proposed once, whoever asks; and then the last."""
    proposed = Tallies(FIVE).proposed("b")
    assert proposed == Tallies(FIVE, SIX)
    assert proposed.proposed("c") == proposed
    assert proposed.noted() == Tallies(SIX)
    assert Tallies().proposed("a").coming == Tally(1, "a")


def test_who_is_decided_to_be_the_original_goes_on_above_all() -> None:
    """Above what is outside, and above what we may have noted."""
    assert Tallies(FIVE, SIX).above(None, "x").coming == Tally(7, "x")
    assert Tallies(FIVE).above(SEVEN, "x").coming == Tally(8, "x")
