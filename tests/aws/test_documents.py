"""Policy documents read and judged together: "Policy evaluation logic" of the IAM user guide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from valetkey.devstack.aws.asked import Malformed, Request, Unsupported
from valetkey.devstack.aws.documents import Document, Verdict, decide, read

GET = Request("s3:GetObject", "arn:aws:s3:::exports/eu/1.csv", {"aws:username": "olivia"})
DENY_ALL = {"Effect": "Deny", "Action": "*", "Resource": "*"}


def allow(action: Any = "s3:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    """One Allow statement."""
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def document(*statements: dict[str, Any], version: str = "2012-10-17") -> Document:
    """A document of these statements, read."""
    return read(json.dumps({"Version": version, "Statement": list(statements)}))


def judge(role: list[Document], session: list[Document] | None = None) -> Verdict:
    """What becomes of GET under a role's policies and perhaps a session policy."""
    layers = {"identity-based policy": role}
    return decide(layers if session is None else layers | {"session policy": session}, GET)


def test_nothing_allowed_is_denied() -> None:
    """By default all requests are implicitly denied."""
    assert judge([]) == Verdict(
        False, "because no identity-based policy allows the s3:GetObject action"
    )


def test_an_allow_allows() -> None:
    """One statement that allows is enough."""
    assert judge([document(allow())]) == Verdict(True)


def test_an_explicit_deny_wins_in_any_document() -> None:
    """An explicit deny in any of the policies overrides every allow."""
    verdict = judge([document(allow()), document(DENY_ALL)])
    assert verdict == Verdict(
        False, "with an explicit deny in an identity-based policy", explicit=True
    )


def test_a_session_has_what_role_and_session_policy_both_allow() -> None:
    """The session's permissions are the intersection of both."""
    eu = document(allow(resource="arn:aws:s3:::exports/eu/*"))
    us = document(allow(resource="arn:aws:s3:::exports/us/*"))
    every = document(allow())
    assert judge([every], [eu]).allowed
    assert judge([every], [us]) == Verdict(
        False, "because no session policy allows the s3:GetObject action"
    )
    assert not judge([us], [every]).allowed


def test_a_deny_in_the_session_policy_wins() -> None:
    """An explicit deny in the session policy denies what both allow."""
    verdict = judge([document(allow())], [document(allow(), DENY_ALL)])
    assert verdict == Verdict(False, "with an explicit deny in a session policy", explicit=True)


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        (allow("s3:getobject"), True),
        (allow("s3:Get*"), True),
        (allow("s3:Get?bject"), True),
        (allow("s3:GetObjectAcl"), False),
        (allow("*"), True),
        (allow(["iam:*", "s3:GetObject"]), True),
        (allow(resource="arn:aws:s3:::exports"), False),
        (allow(resource="arn:aws:s3:::exports/*"), True),
        (allow(resource="arn:aws:s3:::Exports/*"), False),
        (allow(resource="arn:aws:s3:::*"), True),
        (allow(resource="arn:aws:*:::exports/eu/?.csv"), True),
        (allow(resource="arn:aws:s3:::${aws:username}/*"), False),
        ({"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}, False),
        ({"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}, True),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::exports/us/*"}, True),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::exports/eu/*"}, False),
        (allow(Condition={"StringEquals": {"aws:username": "olivia"}}), True),
        (allow(Condition={"StringEquals": {"aws:username": "otto"}}), False),
    ],
    ids=str,
)
def test_actions_ignore_case_and_resources_do_not(statement: dict[str, Any], allowed: bool) -> None:
    """JSON policy element reference: Action, NotAction, Resource, NotResource, Condition."""
    assert judge([document(statement)]).allowed is allowed


def test_a_single_statement_needs_no_list() -> None:
    """Grammar: Statement is one statement or a list."""
    assert judge([read(json.dumps({"Version": "2012-10-17", "Statement": allow()}))]).allowed


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"Version":"2012-10-17"}',
        '{"Version":"2013-10-17","Statement":[]}',
        '{"Statement":[{"Effect":"allow","Action":"s3:*","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"GetObject","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"exports/*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"s3:*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"s3:*","NotAction":"s3:*","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":[],"Resource":"*"}]}',
        '{"Statement":["Allow"]}',
    ],
)
def test_a_document_that_aws_refuses_is_malformed(text: str) -> None:
    """MalformedPolicyDocument, when it is stored."""
    with pytest.raises(Malformed):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"Statement":[],"Sttatement":[]}',
        '{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Resources":"*"}]}',
        '{"Statement":[{"Effect":"Deny","Effect":"Allow","Action":"s3:*","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","NotPrincipal":"*"}]}',
    ],
)
def test_an_element_we_do_not_know_is_never_judged(text: str) -> None:
    """It raises; it is neither skipped nor denied."""
    with pytest.raises(Unsupported):
        read(text)


def test_a_trust_policy_has_principals_and_no_resource() -> None:
    """Its resource is the role it hangs on."""
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:user/b"}, "Action": "sts:*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": trust})
    assert read(text, trust=True).statements[0].principals == ("arn:aws:iam::1:user/b",)
    with pytest.raises(Malformed):
        read(
            json.dumps({"Version": "2012-10-17", "Statement": trust | {"Resource": "*"}}),
            trust=True,
        )
    with pytest.raises(Unsupported, match="Service"):
        service = trust | {"Principal": {"Service": "ec2.amazonaws.com"}}
        read(json.dumps({"Version": "2012-10-17", "Statement": service}), trust=True)
