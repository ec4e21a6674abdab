"""The ask: its time, its hash, and which rule cut what it gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.ask import LONGEST_TTL, Ask, canonical_hash, lowest_ttl, ttl_of
from valetkey.core.errors import InvalidTtl
from valetkey.core.scope import Scope

TTLS = some.integers(1, 100).map(lambda seconds: timedelta(seconds=seconds))
LIMITS = some.lists(some.tuples(some.sampled_from("abcde"), some.none() | TTLS), max_size=6)
ASK = Ask("task_1", Scope.parse("a:b{c=d}"), timedelta(minutes=5), "because", "key")


@given(TTLS, LIMITS)
def test_the_lowest_wins_and_is_named(
    asked: timedelta, limits: list[tuple[str, timedelta | None]]
) -> None:
    """Never above any limit, and the name is of a rule that says exactly that."""
    granted = lowest_ttl(asked, limits)
    given_limits = [limit for _, limit in limits if limit is not None]
    assert granted.ttl == min([asked, *given_limits])
    assert granted.cut_by == "asked" or (granted.cut_by, granted.ttl) in limits


@given(TTLS, LIMITS)
def test_the_first_of_equal_rules_is_named(
    asked: timedelta, limits: list[tuple[str, timedelta | None]]
) -> None:
    """What was asked comes before every rule."""
    named = [("asked", asked), *limits]
    granted = lowest_ttl(asked, limits)
    assert granted.cut_by == next(name for name, ttl in named if ttl == granted.ttl)


@given(some.integers(1, int(LONGEST_TTL.total_seconds())))
def test_whole_seconds_are_a_time(seconds: int) -> None:
    """From one second to twelve hours."""
    assert ttl_of(seconds) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "seconds",
    [0, -1, 43201, 10**30, "300", 300.0, float("nan"), True, None, [300], {}],
)
def test_anything_else_is_no_time(seconds: object) -> None:
    """Zero, negative, huge, text, fractions, NaN and truth values are refused."""
    with pytest.raises(InvalidTtl):
        ttl_of(seconds)


@pytest.mark.parametrize(
    "change",
    [
        {"task_id": "task_2"},
        {"scope": Scope.parse("a:b{c=e}")},
        {"ttl": timedelta(seconds=299)},
        {"reason": "another"},
    ],
)
def test_any_other_ask_has_another_hash(change: dict[str, object]) -> None:
    """Its key does not count: the hash is of what the key is held to."""
    assert replace(ASK, **change).hash != ASK.hash
    assert replace(ASK, idempotency_key="other").hash == ASK.hash


@given(some.dictionaries(some.text(), some.integers() | some.text() | some.booleans()))
def test_a_hash_does_not_depend_on_order(values: dict[str, object]) -> None:
    """The same members, the same name."""
    assert canonical_hash(values) == canonical_hash(dict(reversed(values.items())))
