"""docs/reference/reject-list.md is made from the tests, and each of its rows has one."""

from __future__ import annotations

from tests.house.reject_list import PAGE, complaints, is_there, page


def test_every_rule_of_the_reject_list_has_its_test() -> None:
    """Each row has cases or names tests, all of them there; no case is without a row."""
    assert complaints() == []


def test_the_page_of_the_reject_list_is_what_the_tests_say() -> None:
    """Made anew it is the same; `python -m tests.house.reject_list` makes it."""
    assert PAGE.read_text() == page()


def test_a_test_that_is_not_there_is_missed() -> None:
    """The check itself finds a missing file, a missing test and a missing case."""
    there = "identity/test_spiffe.py::test_an_svid_is_refused_when_it"
    assert is_there(f"{there}[climbs]")
    assert not is_there(f"{there}[flies]")
    assert not is_there("identity/test_spiffe.py::test_that_nobody_wrote")
    assert not is_there("identity/test_nobody.py::test_an_svid_is_refused_when_it")
