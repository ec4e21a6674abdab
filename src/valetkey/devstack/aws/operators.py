"""The condition operators of IAM policies that this emulator knows: `OPERATORS`.

IAM user guide, "IAM JSON policy elements: Condition operators". BinaryEquals is not among them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from valetkey.devstack.aws.asked import Fill, arn_like, like

Test = Callable[[str, str, Fill], bool]
"""(value in the policy, value in the request, filler of policy variables): do they match?"""


@dataclass(frozen=True)
class Operator:
    """One operator: how it tests a pair of values, and what reads a value of the policy.

    `negated`: the test says what must not be. `variables`: policy variables may stand in it.
    `check` raises ValueError for what AWS refuses to store.
    """

    matches: Test
    negated: bool = False
    variables: bool = False
    check: Callable[[str], object] = str


def when(text: str) -> datetime:
    """Read a date: ISO 8601 (W3C profile) or seconds since 1970. Raises ValueError."""
    if re.fullmatch(r"\d{5,}(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _seconds(text: str) -> float:
    return when(text).timestamp()


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _ordered(read: Callable[[str], float], compare: Callable[[float, float], bool]) -> Test:
    """A comparison of two readings; a request value that cannot be read matches nothing."""

    def matches(wanted: str, value: str, _: Fill) -> bool:
        try:
            found = read(value)
        except ValueError:
            return False
        return compare(found, read(wanted))

    return matches


def _orders(prefix: str, read: Callable[[str], float]) -> dict[str, Operator]:
    comparisons: dict[str, Callable[[float, float], bool]] = {
        "Equals": lambda value, wanted: value == wanted,
        "LessThan": lambda value, wanted: value < wanted,
        "LessThanEquals": lambda value, wanted: value <= wanted,
        "GreaterThan": lambda value, wanted: value > wanted,
        "GreaterThanEquals": lambda value, wanted: value >= wanted,
    }
    found = {
        prefix + name: Operator(_ordered(read, compare), check=read)
        for name, compare in comparisons.items()
    }
    equals = found[f"{prefix}Equals"].matches
    return found | {f"{prefix}NotEquals": Operator(equals, negated=True, check=read)}


def _text(wanted: str, fill: Fill) -> str:
    return "".join(part for part, _ in fill(wanted))


def _same(wanted: str, value: str, fill: Fill) -> bool:
    return _text(wanted, fill) == value


def _same_but_case(wanted: str, value: str, fill: Fill) -> bool:
    return _text(wanted, fill).lower() == value.lower()


def _like(wanted: str, value: str, fill: Fill) -> bool:
    return like(fill(wanted), value)


def _same_boolean(wanted: str, value: str, _: Fill) -> bool:
    return wanted.lower() == value.lower()


def _in_network(wanted: str, value: str, _: Fill) -> bool:
    return ipaddress.ip_address(value) in _network(wanted)


def _both(name: str, opposite: str, test: Test) -> dict[str, Operator]:
    """An operator and its negation."""
    return {
        name: Operator(test, variables=True),
        opposite: Operator(test, negated=True, variables=True),
    }


NULL = Operator(lambda *_: False, check=_boolean)
"""Looks only at whether the key is there; judged in `conditions`."""

OPERATORS: Mapping[str, Operator] = {
    "Null": NULL,
    "Bool": Operator(_same_boolean, check=_boolean),
    "IpAddress": Operator(_in_network, check=_network),
    "NotIpAddress": Operator(_in_network, negated=True, check=_network),
    **_both("StringEquals", "StringNotEquals", _same),
    **_both("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", _same_but_case),
    **_both("StringLike", "StringNotLike", _like),
    **_both("ArnEquals", "ArnNotEquals", arn_like),  # the two ARN pairs behave identically
    **_both("ArnLike", "ArnNotLike", arn_like),
    **_orders("Numeric", float),
    **_orders("Date", _seconds),
}
