"""docs/reference/errors.md is the closed catalogue, with the status that HTTP gives each code."""

from __future__ import annotations

from tests.house.pages import rows
from valetkey.core.errors import catalogue
from valetkey.web.problems import STATUS


def test_every_error_code_is_documented_as_the_code_has_it() -> None:
    """Code, status, sentence and next action of every class, and of no other."""
    meant = {
        (
            f"`{error.code}`",
            str(STATUS[error]),
            (error.__doc__ or "").splitlines()[0],
            error.next_action,
        )
        for error in catalogue()
    }
    told = set(rows("errors.md"))
    missing = sorted("| " + " | ".join(row) + " |" for row in meant - told)
    assert not missing, "add to docs/reference/errors.md:\n" + "\n".join(missing)
    assert not told - meant, f"no such error: {sorted(told - meant)}"


def test_no_two_refusals_share_a_code() -> None:
    """A code tells the caller what to do, so it means one thing."""
    codes = [error.code for error in catalogue()]
    assert len(codes) == len(set(codes))
