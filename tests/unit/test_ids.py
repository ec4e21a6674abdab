"""Ids sort as they were made; marks say whose an outside object is, in 63 characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.ids import LeaseId, Mark, encode_id, short_digest

RAW = some.binary(min_size=16, max_size=16)
INSTALLATIONS = some.from_regex(r"[0-9a-v]{6}e[0-9]{1,4}", fullmatch=True)


@given(INSTALLATIONS, some.text(), RAW)
def test_a_mark_is_read_back_as_it_was_written(installation: str, scope: str, raw: bytes) -> None:
    """Installation, scope digest and lease id, in a name that PostgreSQL does not cut."""
    lease_id = LeaseId(encode_id("lease", raw))
    mark = Mark.of(installation, short_digest(scope), lease_id)
    assert Mark.read(str(mark)) == mark
    assert mark.lease_id == lease_id
    assert len(str(mark)) <= 63


@given(RAW, RAW)
def test_ids_sort_as_their_bytes_do(one: bytes, other: bytes) -> None:
    """So the newest is last."""
    assert (encode_id("x", one) < encode_id("x", other)) is (one < other)


@given(some.text(max_size=70))
def test_no_other_name_reads_as_a_mark(name: str) -> None:
    """What does not print as it was read is not ours."""
    mark = Mark.read(name)
    assert mark is None or str(mark) == name


@pytest.mark.parametrize(
    ("installation", "digest", "lease"),
    [
        ("abcdef", "0" * 12, "0" * 26),
        ("abcdefe1", "0" * 11, "0" * 26),
        ("abcdefe1", "0" * 12, "z" * 26),
        ("abcdefe12345", "0" * 12, "0" * 26),
        ('abcdefe1"', "0" * 12, "0" * 26),
        ("ABCDEFe1", "0" * 12, "0" * 26),
    ],
)
def test_an_unfit_part_makes_no_mark(installation: str, digest: str, lease: str) -> None:
    """Nothing that needs quoting, cutting or guessing gets into a name."""
    with pytest.raises(ValueError, match="not a mark"):
        Mark.of(installation, digest, LeaseId(f"lease_{lease}"))
