"""Our evaluator of IAM conditions against what AWS documents, and what must never be guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.aws.documented import ROWS, Row
from valetkey.devstack.aws.asked import Malformed, Request, Unsupported, Values
from valetkey.devstack.aws.conditions import parse

TAG = "aws:PrincipalTag/team"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="*?$"), min_size=1, max_size=8)


def holds(block: dict[str, Any], keys: dict[str, Values], *, variables: bool = True) -> bool:
    """Whether every line of a Condition element is true of a request with these keys."""
    request = Request("s3:GetObject", "arn:aws:s3:::bucket/key", keys)
    return all(line.holds(request) for line in parse(block, variables=variables))


@pytest.mark.parametrize("row", ROWS, ids=[row.rule for row in ROWS])
def test_a_condition_has_the_documented_outcome(row: Row) -> None:
    """The rule that names the row, as the IAM user guide states it."""
    assert holds(row.condition, row.keys) is row.holds


@pytest.mark.parametrize(
    "block",
    [
        {"BinaryEquals": {TAG: "QmluYXJ5"}},
        {"StringMatches": {TAG: "red"}},
        {"stringequals": {TAG: "red"}},
        {"ForSomeValues:StringEquals": {"aws:TagKeys": "a"}},
        {"NullIfExists": {TAG: "true"}},
        {"ForAnyValue:Null": {TAG: "true"}},
        {"StringEquals": {TAG: []}},
        {"DateLessThan": {"aws:CurrentTime": "${aws:TokenIssueTime}"}},
        {"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
        {"StringEquals": {"s3:ExistingObjectTag/a": "b"}},
        {"StringEquals": {"aws:TagKeys": "a"}},
        {"StringEquals": {TAG: "${aws:username}"}},
        {"StringEquals": {TAG: "${aws:PrincipalTag/wild}"}},
        {"StringEquals": {TAG: "${aws:username"}},
        {"ArnLike": {"aws:PrincipalArn": "*"}},
    ],
    ids=str,
)
def test_what_the_emulator_does_not_know_is_never_judged(block: dict[str, Any]) -> None:
    """Unknown operators, qualifiers, keys and outcomes raise, wherever the statement would lead."""
    keys: dict[str, Values] = {
        TAG: "red",
        "aws:PrincipalTag/wild": "a*",
        "aws:TagKeys": ("a",),
        "aws:CurrentTime": "2026-01-01T12:00:00Z",
        "aws:PrincipalArn": "arn:aws:iam::123456789012:user/olivia",
    }
    with pytest.raises(Unsupported):
        holds(block, keys)


@pytest.mark.parametrize(
    "block",
    [
        {"DateLessThan": {"aws:CurrentTime": "tomorrow"}},
        {"NumericEquals": {"s3:max-keys": "ten"}},
        {"Bool": {"aws:SecureTransport": "yes"}},
        {"IpAddress": {"aws:SourceIp": "10.0.0.0/64"}},
        {"StringEquals": {TAG: None}},
        {"StringEquals": {TAG: {"a": "b"}}},
        {"StringEquals": "red"},
        [],
    ],
    ids=str,
)
def test_a_condition_that_cannot_be_read_is_malformed(block: Any) -> None:
    """AWS refuses such a document when it is stored, and so do we."""
    with pytest.raises(Malformed):
        parse(block, variables=True)


def test_an_older_version_knows_no_variables() -> None:
    """Variables and tags: without Version 2012-10-17 they are literal text."""
    block = {"StringEquals": {TAG: "${aws:username}"}}
    assert holds(block, {TAG: "${aws:username}"}, variables=False)


NEGATIONS = [
    ("StringEquals", "StringNotEquals"),
    ("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
    ("StringLike", "StringNotLike"),
]


@pytest.mark.parametrize(("name", "opposite"), NEGATIONS)
@given(wanted=st.lists(TEXTS, min_size=1, max_size=3), value=st.none() | TEXTS)
def test_a_negated_operator_is_the_exact_opposite(
    name: str, opposite: str, wanted: list[str], value: str | None
) -> None:
    """Present or missing, one value or many: exactly one of the pair holds."""
    keys: dict[str, Values] = {} if value is None else {TAG: value}
    assert holds({name: {TAG: wanted}}, keys) != holds({opposite: {TAG: wanted}}, keys)


@given(value=TEXTS, before=TEXTS, after=TEXTS)
def test_a_wildcard_stands_for_any_text(value: str, before: str, after: str) -> None:
    """`before*after` matches exactly what begins and ends so."""
    assert holds({"StringLike": {TAG: f"{before}*{after}"}}, {TAG: before + value + after})
    assert not holds({"StringLike": {TAG: f"{before}?{after}"}}, {TAG: before + after})


@given(at=st.integers(10**9, 4 * 10**9), offset=st.integers(-3600, 3600))
def test_a_fence_is_open_before_and_shut_from_its_instant_on(at: int, offset: int) -> None:
    """DateLessThan and DateGreaterThanEquals divide time with neither gap nor overlap."""
    fence = datetime.fromtimestamp(at, UTC)
    keys: dict[str, Values] = {"aws:CurrentTime": (fence + timedelta(seconds=offset)).isoformat()}
    until = {"DateLessThan": {"aws:CurrentTime": fence.isoformat()}}
    since = {"DateGreaterThanEquals": {"aws:CurrentTime": fence.isoformat()}}
    assert holds(until, keys) is (offset < 0)
    assert holds(since, keys) is (offset >= 0)


@given(asked=st.frozensets(TEXTS, max_size=4), listed=st.lists(TEXTS, min_size=1, max_size=4))
def test_set_qualifiers_are_subset_and_intersection(
    asked: frozenset[str], listed: list[str]
) -> None:
    """ForAllValues: nothing beyond the list; ForAnyValue: something in common with it."""
    keys: dict[str, Values] = {"aws:TagKeys": tuple(asked)}
    subset = holds({"ForAllValues:StringEquals": {"aws:TagKeys": listed}}, keys)
    common = holds({"ForAnyValue:StringEquals": {"aws:TagKeys": listed}}, keys)
    assert subset is asked.issubset(listed)
    assert common is bool(asked.intersection(listed))
