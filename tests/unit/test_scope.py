"""Scope: a partial order that only narrows, written one way and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.errors import InvalidParameter, InvalidRequest
from valetkey.core.scope import MAX_WRITTEN, Scope, within_any

NAMES = some.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
KEYS = some.sampled_from(["region", "path", "table"])
SEGMENTS = some.sampled_from(["a", "b", "a.b", "x-1"])
VALUES = some.builds(
    lambda parts, below: "/".join(parts) + ("/" if below else ""),
    some.lists(SEGMENTS, min_size=1, max_size=3),
    some.booleans(),
)
PARAMETERS = some.dictionaries(KEYS, VALUES, max_size=3)
SCOPES = some.builds(
    lambda target, name, given: Scope(target, name, tuple(sorted(given.items()))),
    some.sampled_from(["orders-db", "archive"]),
    some.sampled_from(["read", "write"]),
    PARAMETERS,
)


@given(SCOPES)
def test_a_scope_is_read_back_as_it_was_written(scope: Scope) -> None:
    """Printing and parsing are inverse."""
    assert Scope.parse(str(scope)) == scope


@given(NAMES, NAMES, PARAMETERS)
def test_the_order_in_which_parameters_are_written_does_not_matter(
    target: str, name: str, given: dict[str, str]
) -> None:
    """The same scope has one form."""
    pairs = [f"{key}={value}" for key, value in given.items()]
    texts = {f"{target}:{name}{{{','.join(x)}}}" for x in (pairs, pairs[::-1]) if x}
    assert len({Scope.parse(text) for text in texts}) <= 1


@given(SCOPES)
def test_every_scope_is_within_itself(scope: Scope) -> None:
    """Reflexive."""
    assert scope <= scope


@given(SCOPES, SCOPES)
def test_two_scopes_within_each_other_are_the_same(one: Scope, other: Scope) -> None:
    """Antisymmetric."""
    if one <= other and other <= one:
        assert one == other


@given(SCOPES, SCOPES, SCOPES)
def test_what_is_within_the_narrower_is_within_the_wider(a: Scope, b: Scope, c: Scope) -> None:
    """Transitive."""
    if a <= b and b <= c:
        assert a <= c


@given(SCOPES, KEYS, VALUES)
def test_one_more_parameter_never_widens(scope: Scope, key: str, value: str) -> None:
    """Limits are only added."""
    limited = Scope(
        scope.target, scope.name, tuple(sorted({key: value, **dict(scope.parameters)}.items()))
    )
    assert limited <= scope


@pytest.mark.parametrize(
    ("narrow", "wide", "within"),
    [
        ("a:read{path=x/y/}", "a:read{path=x/}", True),
        ("a:read{path=x/y}", "a:read{path=x/}", True),
        ("a:read{path=xy/}", "a:read{path=x/}", False),
        ("a:read{path=x/}", "a:read{path=x/y/}", False),
        ("a:read{path=x}", "a:read{path=x/}", False),
        ("a:read{path=xy}", "a:read{path=x}", False),
        ("a:read", "a:read{path=x/}", False),
        ("a:read{path=x/}", "a:read", True),
        ("a:write", "a:read", False),
        ("b:read", "a:read", False),
    ],
)
def test_narrower_is_by_whole_segments(narrow: str, wide: str, within: bool) -> None:
    """A prefix that ends in a slash holds what is below it, and nothing beside it."""
    assert (Scope.parse(narrow) <= Scope.parse(wide)) is within
    assert within_any(Scope.parse(narrow), (Scope.parse(wide),)) is within
    assert not within_any(Scope.parse(narrow), ())


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "orders-db",
        ":read",
        "orders-db:",
        "Orders:read",
        "orders-db:read{",
        "orders-db:read{region=eu}x",
        "orders-db:read {region=eu}",
        "orders-db:read{region={eu}}",
        " orders-db:read",
        "orders-db:read\n",
        "a:b{" + "x" * MAX_WRITTEN + "}",
    ],
)
def test_what_is_not_written_like_a_scope_is_refused(text: object) -> None:
    """And never echoed."""
    with pytest.raises(InvalidRequest) as refused:
        Scope.parse(text)
    assert not text or str(text) not in str(refused.value)


@pytest.mark.parametrize(
    "inside",
    [
        "",
        ",",
        "region",
        "region=",
        "=eu",
        "region=eu,",
        "region=eu,,path=x",
        "region=eu,region=us",
        "Region=eu",
        "region=e u",
        "region=eu;drop",
        "region='eu'",
        "path=../x",
        "path=x/../y",
        "path=./x",
        "path=x/./y",
        "path=/x",
        "path=x//y",
        "path=x//",
        "path=/",
        "path=..",
        "region=ü",
        "region=eu\x00",
        "region=" + "x" * 129,
    ],
)
def test_a_bad_parameter_is_refused(inside: str) -> None:
    """Empty, twice, of strange characters, or with a dotted or empty segment."""
    with pytest.raises((InvalidParameter, InvalidRequest)):
        Scope.parse(f"orders-db:read{{{inside}}}")


def test_a_value_is_read_by_its_name() -> None:
    """And what is not limited has none."""
    scope = Scope.parse("orders-db:read{region=eu}")
    assert scope.value("region") == "eu"
    with pytest.raises(KeyError):
        scope.value("table")
