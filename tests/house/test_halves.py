"""`make test` runs everything: no folder of tests is left to neither half."""

from __future__ import annotations

from tests.halves import TESTS, halves


def test_every_folder_of_tests_is_run_by_exactly_one_half() -> None:
    """A new folder is in the calm half until it is named as one that breaks things."""
    breaking, calm = halves()
    folders = {f"tests/{path.parent.relative_to(TESTS)}" for path in TESTS.rglob("test_*.py")}
    assert set(breaking) | set(calm) == folders
    assert not set(breaking) & set(calm)
