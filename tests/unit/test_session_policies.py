"""Session policies: parameters are whole segments, nothing else is ever read into them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.catalogue import Parameter, ScopeDefinition
from valetkey.core.errors import BrokerError
from valetkey.core.scope import Scope
from valetkey.core.session_policies import document, instant, rendered, session_policy_problems

FENCE = datetime(2026, 1, 1, 12, 2, 0, 999_999, tzinfo=UTC)
GET = {
    "Effect": "Allow",
    "Action": ["s3:GetObject"],
    "Resource": ["arn:aws:s3:::orders/${prefix}*"],
}
LIST = {
    "Effect": "Allow",
    "Action": "s3:ListBucket",
    "Resource": "arn:aws:s3:::orders",
    "Condition": {"StringLike": {"s3:prefix": ["${prefix}*"]}},
}
PREFIX = Parameter("prefix", "path_prefix")


def definition(*statements: object, mutates: bool = False) -> ScopeDefinition:
    """A scope of these statements with one prefix."""
    texts = tuple(json.dumps(statement) for statement in statements)
    return ScopeDefinition("read", mutates, timedelta(minutes=15), (PREFIX,), session_policy=texts)


def problems(*statements: object, mutates: bool = False) -> list[str]:
    """What is wrong with them."""
    scope = definition(*statements, mutates=mutates)
    return [message for _, message in session_policy_problems(statements, scope)]


def test_a_document_narrows_and_ends_itself() -> None:
    """Its own statements, no way into other roles, and a fence at the whole second before."""
    made = json.loads(document(definition(GET, LIST), {"prefix": "eu/"}, FENCE))
    get, listing, escape, end = made["Statement"]
    assert get["Resource"] == ["arn:aws:s3:::orders/eu/*"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["eu/*"]}}
    assert (escape["Effect"], escape["Action"]) == ("Deny", ["iam:*", "sts:*"])
    assert (end["Effect"], end["Action"], end["Resource"]) == ("Deny", "*", "*")
    assert end["Condition"] == {
        "DateGreaterThanEquals": {"aws:CurrentTime": "2026-01-01T12:02:00Z"}
    }
    assert instant(FENCE) == "2026-01-01T12:02:00Z"


def test_the_samples_have_nothing_wrong_with_them() -> None:
    """A read, a list by prefix, and a write in a scope that mutates."""
    write = {**GET, "Action": ["s3:PutObject", "s3:Get*"]}
    assert problems(GET, LIST) == []
    assert problems(write, mutates=True) == []
    deny = {"Effect": "Deny", "Action": "s3:GetObjectAcl", "Resource": "*"}
    assert problems(GET, deny) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Action": "*"}, "service:Verb"),
        ({"Action": "s3:*"}, "service:Verb"),
        ({"Action": "s3:*Object"}, "service:Verb"),
        ({"Action": []}, "must name actions"),
        ({"Action": "s3:PutObject"}, "only actions that read"),
        ({"Action": "s3:G*"}, "service:Verb"),
        ({"Action": "s3:Ge*"}, "only actions that read"),
        ({"Action": "sts:GetFederationToken"}, "no session may be given"),
        ({"Action": "iam:GetUser"}, "no session may be given"),
        ({"Action": None, "NotAction": "s3:PutObject"}, "NotAction may not stand"),
        ({"NotResource": "arn:aws:s3:::x"}, "NotResource may not stand"),
        ({"Principal": "*"}, "Principal may not stand"),
        ({"Effect": "allow"}, "Effect must be"),
        ({"Resource": "*"}, "each resource is an ARN"),
        ({"Resource": "arn:aws:s3:::*"}, "each resource is an ARN"),
        ({"Resource": "arn:aws:*:::${prefix}"}, "each resource is an ARN"),
        ({"Resource": []}, "must name resources"),
        ({"Condition": {"StringMatches": {"s3:prefix": "x"}}}, "operator that is not known"),
        ({"Condition": {"StringEquals": {"${prefix}": "x"}}}, "condition's key"),
        ({"Condition": {"StringEquals": {"s3:prefix": 1}}}, "keys to texts"),
        ({"Condition": ["x"]}, "must be a mapping"),
        ({"Sid": "${prefix}"}, "Sid"),
        ({"Resource": "arn:aws:s3:::orders/${aws:username}/${prefix}*"}, "policy variable"),
        ({"Resource": "arn:aws:s3:::orders/${prefix}${*}"}, "policy variable"),
        ({"Resource": "arn:aws:s3:::orders/${other}"}, "does not have"),
        ({"Resource": "arn:aws:s3:::orders/x${prefix}*"}, "whole segments"),
        ({"Resource": "arn:aws:s3:::orders/all/*"}, "stands nowhere"),
        ({"Resource": ["arn:aws:s3:::orders/${prefix}*" + "x" * 1800]}, "longer than AWS takes"),
    ],
)
def test_what_a_statement_may_not_hold_is_told(change: dict[str, object], said: str) -> None:
    """Each by a sentence of its own."""
    assert any(said in message for message in problems({**GET, **change}))


def test_something_must_be_allowed() -> None:
    """A policy that only denies gives nothing, and a list of nothing gives everything."""
    assert "must allow something" in problems({**GET, "Effect": "Deny"})[-1]
    assert "must allow something" in problems()[-1]
    assert "must be a mapping" in problems("s3:GetObject")[0]


@pytest.mark.parametrize(
    "value", ["*", "eu/*", "../", "eu/../", "./", "${aws:username}/", "a?/", "", "/", "a//", "é/"]
)
def test_a_value_that_means_something_is_refused_again_at_the_last_moment(value: str) -> None:
    """Whoever came that far with it."""
    with pytest.raises(ValueError, match="parameter"):
        document(definition(GET), {"prefix": value}, FENCE)


def test_a_value_without_a_slash_is_only_put_before_one_or_at_the_end() -> None:
    """`eu` before a wildcard would also be `europe`."""
    open_ended = {**GET, "Resource": "arn:aws:s3:::orders/${region}*"}
    with pytest.raises(ValueError, match="whole segments"):
        rendered(open_ended, {"region": "eu"})
    closed = {**GET, "Resource": "arn:aws:s3:::orders/${region}/*"}
    assert rendered(closed, {"region": "eu"})["Resource"] == "arn:aws:s3:::orders/eu/*"


@given(some.text(max_size=40))
def test_whatever_may_be_asked_for_opens_only_what_begins_with_it(text: str) -> None:
    """Any text: refused when asked for, refused when rendered, or a prefix and nothing more."""
    try:
        value = Scope.parse(f"orders:read{{prefix={text}}}").value("prefix")
        PREFIX.check(value)
    except BrokerError:
        return
    made = json.loads(document(definition(GET), {"prefix": value}, FENCE))
    resource = made["Statement"][0]["Resource"][0]
    assert resource == f"arn:aws:s3:::orders/{value}*"
    assert value.endswith("/")
    assert not set("*?${}") & set(value)
    assert ".." not in value.split("/")
