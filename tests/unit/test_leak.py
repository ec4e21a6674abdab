"""What a reported text is held against fingerprints as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.leak import secrets_in


@given(some.text(min_size=1))
def test_a_report_is_always_tried_as_it_is(reported: str) -> None:
    """Whatever it is; nothing is tried twice, and nothing that is empty."""
    found = secrets_in(reported)
    assert found[0] == reported
    assert len(set(found)) == len(found) and all(found)


@pytest.mark.parametrize(
    ("reported", "secret"),
    [
        ("s3cret\n", "s3cret"),
        ("  s3cret\t", "s3cret"),
        ("postgresql://vk-x:s3cret@orders.internal:5432/orders", "s3cret"),
        ("postgresql://vk-x:s3%2Fcret@orders.internal/orders\n", "s3/cret"),
        ("postgresql://vk-x:s3%2Fcret@orders.internal/orders", "s3%2Fcret"),
    ],
)
def test_the_secret_is_found_in_its_usual_wrapping(reported: str, secret: str) -> None:
    """A line's end, blanks, a connection URL, its password quoted or not."""
    assert secret in secrets_in(reported)


def test_what_only_looks_like_a_url_is_no_defect() -> None:
    """A text that cannot be split is tried as it is."""
    assert secrets_in("http://[broken") == ("http://[broken",)
