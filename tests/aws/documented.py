"""What AWS documents of conditions, one row each: the rule, a Condition, the request, the outcome.

Rules are named by the page of the IAM user guide they stand on:
  operators  "IAM JSON policy elements: Condition operators"
  multi      "Conditions with multiple context keys or values"
  sets       "Single-valued vs. multivalued context keys"
  keys       "AWS global condition context keys"
  variables  "IAM policy elements: Variables and tags"
"""

from __future__ import annotations

from typing import Any, NamedTuple

from valetkey.devstack.aws.asked import Values


class Row(NamedTuple):
    """One documented outcome."""

    rule: str
    condition: dict[str, Any]
    keys: dict[str, Values]
    holds: bool


TAG = "aws:PrincipalTag/team"
NOW = {"aws:CurrentTime": "2026-01-01T12:00:00Z"}
ISSUED = {"aws:TokenIssueTime": "2026-01-01T12:00:00Z"}
NOON = "2026-01-01T12:00:00Z"
LATER = "2026-01-01T12:00:01Z"
USER_ARN = {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/ops/olivia"}

STRINGS = [
    Row("operators: StringEquals is exact", {"StringEquals": {TAG: "red"}}, {TAG: "red"}, True),
    Row("operators: StringEquals minds case", {"StringEquals": {TAG: "red"}}, {TAG: "Red"}, False),
    Row("operators: StringEquals knows no wildcard", {"StringEquals": {TAG: "r*"}}, {TAG: "red"}, False),
    Row("operators: ...EqualsIgnoreCase", {"StringEqualsIgnoreCase": {TAG: "red"}}, {TAG: "RED"}, True),
    Row("operators: ...NotEqualsIgnoreCase", {"StringNotEqualsIgnoreCase": {TAG: "red"}}, {TAG: "RED"}, False),
    Row("operators: StringNotEquals negates", {"StringNotEquals": {TAG: "red"}}, {TAG: "blue"}, True),
    Row("operators: StringLike, * is any text", {"StringLike": {TAG: "r*d"}}, {TAG: "round and red"}, True),
    Row("operators: StringLike, * is no text too", {"StringLike": {TAG: "red*"}}, {TAG: "red"}, True),
    Row("operators: StringLike, ? is one character", {"StringLike": {TAG: "r?d"}}, {TAG: "rd"}, False),
    Row("operators: StringLike minds case", {"StringLike": {TAG: "r*"}}, {TAG: "Red"}, False),
    Row("operators: StringNotLike negates", {"StringNotLike": {TAG: "r*"}}, {TAG: "red"}, False),
    Row("operators: a dot is a dot", {"StringLike": {TAG: "a.c*"}}, {TAG: "abc"}, False),
    Row("condition: names of keys ignore case", {"StringEquals": {"AWS:principaltag/Team": "red"}}, {TAG: "red"}, True),
]  # fmt: skip

MISSING = [
    Row("operators: a missing key does not match", {"StringEquals": {TAG: "red"}}, {}, False),
    Row("operators: a missing key is not StringLike *", {"StringLike": {TAG: "*"}}, {}, False),
    Row("operators: a missing key is not less", {"NumericLessThan": {"s3:max-keys": "9"}}, {}, False),
    Row("operators: a missing key is not before", {"DateLessThan": {"aws:TokenIssueTime": NOON}}, {}, False),
    Row("operators: a missing key is not true", {"Bool": {"aws:SecureTransport": "true"}}, {}, False),
    Row("operators: a missing key is not false", {"Bool": {"aws:SecureTransport": "false"}}, {}, False),
    Row("operators: missing, and must not match", {"StringNotEquals": {TAG: "red"}}, {}, True),
    Row("operators: missing, StringNotLike", {"StringNotLike": {TAG: "*"}}, {}, True),
    Row("operators: missing, ArnNotLike", {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:*"}}, {}, True),
    Row("operators: missing, NotIpAddress", {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {}, True),
    Row("operators: IfExists, missing", {"StringEqualsIfExists": {TAG: "red"}}, {}, True),
    Row("operators: IfExists, there and equal", {"StringEqualsIfExists": {TAG: "red"}}, {TAG: "red"}, True),
    Row("operators: IfExists, there and other", {"StringEqualsIfExists": {TAG: "red"}}, {TAG: "blue"}, False),
    Row("operators: IfExists of a negation, missing", {"StringNotEqualsIfExists": {TAG: "red"}}, {}, True),
    Row("operators: BoolIfExists", {"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}, {}, True),
    Row("operators: Null true, missing", {"Null": {TAG: "true"}}, {}, True),
    Row("operators: Null true, there", {"Null": {TAG: "true"}}, {TAG: "red"}, False),
    Row("operators: Null false, there", {"Null": {TAG: "false"}}, {TAG: "red"}, True),
    Row("operators: Null false, missing", {"Null": {TAG: "false"}}, {}, False),
    Row("operators: Null takes a boolean", {"Null": {TAG: False}}, {TAG: "red"}, True),
]  # fmt: skip

SEVERAL = [
    Row("multi: values are joined by OR", {"StringEquals": {TAG: ["red", "blue"]}}, {TAG: "blue"}, True),
    Row("multi: none of the values", {"StringEquals": {TAG: ["red", "blue"]}}, {TAG: "green"}, False),
    Row("multi: negated values are joined by NOR", {"StringNotEquals": {TAG: ["red", "blue"]}}, {TAG: "blue"}, False),
    Row("multi: NOR, none of them", {"StringNotEquals": {TAG: ["red", "blue"]}}, {TAG: "green"}, True),
    Row("multi: keys are joined by AND", {"StringEquals": {TAG: "red", "aws:username": "olivia"}}, {TAG: "red", "aws:username": "otto"}, False),
    Row("multi: keys are joined by AND, both", {"StringEquals": {TAG: "red", "aws:username": "olivia"}}, {TAG: "red", "aws:username": "olivia"}, True),
    Row("multi: operators are joined by AND", {"StringEquals": {TAG: "red"}, "Bool": {"aws:SecureTransport": "true"}}, {TAG: "red", "aws:SecureTransport": "false"}, False),
    Row("multi: no condition always holds", {}, {}, True),
]  # fmt: skip

SETS = [
    Row("sets: ForAllValues, a subset", {"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("a",)}, True),
    Row("sets: ForAllValues, one beyond", {"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("a", "c")}, False),
    Row("sets: ForAllValues of a missing key is true", {"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}, {}, True),
    Row("sets: ForAllValues of a null set is true", {"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}, {"aws:TagKeys": ()}, True),
    Row("sets: ForAllValues of an empty string is true", {"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}, {"aws:TagKeys": ("",)}, True),
    Row("sets: ForAllValues with wildcards", {"ForAllValues:StringLike": {"aws:TagKeys": "k*"}}, {"aws:TagKeys": ("k1", "k2")}, True),
    Row("sets: ForAnyValue, one in common", {"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("b", "c")}, True),
    Row("sets: ForAnyValue, none in common", {"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("c",)}, False),
    Row("sets: ForAnyValue of a missing key is false", {"ForAnyValue:StringEquals": {"aws:TagKeys": "a"}}, {}, False),
    Row("sets: ForAnyValue of a null set is false", {"ForAnyValue:StringEquals": {"aws:TagKeys": "a"}}, {"aws:TagKeys": ()}, False),
    Row("sets: names of tags in aws:TagKeys mind case", {"ForAnyValue:StringEquals": {"aws:TagKeys": "a"}}, {"aws:TagKeys": ("A",)}, False),
]  # fmt: skip

TIMES = [
    Row("operators: DateLessThan, before", {"DateLessThan": {"aws:CurrentTime": LATER}}, NOW, True),
    Row("operators: DateLessThan, that very second", {"DateLessThan": {"aws:CurrentTime": NOON}}, NOW, False),
    Row("operators: DateLessThanEquals", {"DateLessThanEquals": {"aws:CurrentTime": NOON}}, NOW, True),
    Row("operators: DateGreaterThan", {"DateGreaterThan": {"aws:CurrentTime": NOON}}, NOW, False),
    Row("operators: DateGreaterThanEquals", {"DateGreaterThanEquals": {"aws:CurrentTime": NOON}}, NOW, True),
    Row("operators: DateEquals, another zone", {"DateEquals": {"aws:CurrentTime": "2026-01-01T13:00:00+01:00"}}, NOW, True),
    Row("operators: DateNotEquals", {"DateNotEquals": {"aws:CurrentTime": NOON}}, NOW, False),
    Row("operators: dates as epoch seconds", {"DateLessThan": {"aws:EpochTime": "1767268801"}}, {"aws:EpochTime": "1767268800"}, True),
    Row("operators: fractions of a second", {"DateLessThan": {"aws:CurrentTime": "2026-01-01T12:00:00.5Z"}}, NOW, True),
    Row("keys: aws:TokenIssueTime, issued before the cut", {"DateLessThan": {"aws:TokenIssueTime": LATER}}, ISSUED, True),
    Row("keys: aws:TokenIssueTime, issued at the cut", {"DateLessThan": {"aws:TokenIssueTime": NOON}}, ISSUED, False),
    Row("keys: aws:TokenIssueTime is absent with long-term keys", {"Null": {"aws:TokenIssueTime": "true"}}, {}, True),
]  # fmt: skip

OTHERS = [
    Row("operators: NumericEquals", {"NumericEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": "10.0"}, True),
    Row("operators: numbers unquoted", {"NumericLessThanEquals": {"s3:max-keys": 10}}, {"s3:max-keys": "10"}, True),
    Row("operators: NumericGreaterThan", {"NumericGreaterThan": {"s3:max-keys": "9"}}, {"s3:max-keys": "10"}, True),
    Row("operators: NumericNotEquals", {"NumericNotEquals": {"s3:max-keys": "9"}}, {"s3:max-keys": "9"}, False),
    Row("operators: Bool", {"Bool": {"aws:SecureTransport": "false"}}, {"aws:SecureTransport": "false"}, True),
    Row("operators: Bool takes a boolean", {"Bool": {"aws:SecureTransport": True}}, {"aws:SecureTransport": "true"}, True),
    Row("operators: IpAddress, CIDR", {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, {"aws:SourceIp": "203.0.113.9"}, True),
    Row("operators: IpAddress, one address", {"IpAddress": {"aws:SourceIp": "203.0.113.9"}}, {"aws:SourceIp": "203.0.113.9"}, True),
    Row("operators: NotIpAddress", {"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "203.0.113.0/24"]}}, {"aws:SourceIp": "203.0.113.9"}, False),
    Row("operators: IpAddress, IPv6", {"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}, {"aws:SourceIp": "2001:db8::1"}, True),
    Row("operators: ArnLike, * within a component", {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/*"}}, USER_ARN, True),
    Row("operators: ArnEquals is the same as ArnLike", {"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, USER_ARN, True),
    Row("operators: ArnLike checks components separately", {"ArnLike": {"aws:PrincipalArn": "arn:aws:*:*:*:user/ops/otto"}}, USER_ARN, False),
    Row("operators: a component does not swallow the next", {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam:*:user/*:*"}}, USER_ARN, False),
    Row("operators: ArnNotEquals", {"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, USER_ARN, True),
]  # fmt: skip

VARIABLES = [
    Row("variables: in string operators", {"StringEquals": {TAG: "${aws:username}"}}, {TAG: "olivia", "aws:username": "olivia"}, True),
    Row("variables: another value", {"StringEquals": {TAG: "${aws:username}"}}, {TAG: "olivia", "aws:username": "otto"}, False),
    Row("variables: among text", {"StringLike": {"s3:prefix": "home/${aws:username}/*"}}, {"s3:prefix": "home/olivia/x", "aws:username": "olivia"}, True),
    Row("variables: in ARN operators", {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/ops/${aws:username}"}}, {**USER_ARN, "aws:username": "olivia"}, True),
    Row("variables: a default value", {"StringEquals": {"s3:prefix": "${aws:PrincipalTag/home, 'lost'}"}}, {"s3:prefix": "lost"}, True),
    Row("variables: ${*} is an asterisk", {"StringLike": {"s3:prefix": "a${*}"}}, {"s3:prefix": "abc"}, False),
    Row("variables: ${*} equals an asterisk", {"StringLike": {"s3:prefix": "a${*}"}}, {"s3:prefix": "a*"}, True),
]  # fmt: skip

ROWS = [*STRINGS, *MISSING, *SEVERAL, *SETS, *TIMES, *OTHERS, *VARIABLES]
