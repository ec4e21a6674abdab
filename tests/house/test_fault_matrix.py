"""docs/reference/fault-matrix.md is made from the tests, and leaves no row out."""

from __future__ import annotations

from tests.house.fault_matrix import PAGE, complaints, marked_tests, page


def test_every_row_of_the_fault_matrix_is_run_or_says_why_not() -> None:
    """A test for each, or a reason; never both, and no test names a row that nobody knows."""
    assert complaints(list(marked_tests())) == []


def test_the_fault_matrix_page_is_what_the_tests_say() -> None:
    """Made anew it is the same; `python -m tests.house.fault_matrix` makes it."""
    assert PAGE.read_text() == page(list(marked_tests()))
