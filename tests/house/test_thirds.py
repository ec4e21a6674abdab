"""`make test` runs everything: no folder of tests is left to no third."""

from __future__ import annotations

from tests.thirds import TESTS, thirds


def test_every_folder_of_tests_is_run_by_exactly_one_third() -> None:
    """A new folder is in the last third until it is named as one of another."""
    named = [name for part in thirds() for name in part]
    folders = {f"tests/{path.parent.relative_to(TESTS)}" for path in TESTS.rglob("test_*.py")}
    assert set(named) == folders
    assert len(named) == len(folders)
