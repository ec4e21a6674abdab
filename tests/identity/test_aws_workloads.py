"""AWS: tokens of GetWebIdentityToken, known by the role that asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.identity.platform_doors import Door, door
from valetkey.core.errors import Unauthenticated, UnknownAgent
from valetkey.core.trust import TrustRuleTooWide, check_binding
from valetkey.testing.issuer import WITHOUT

ROLE = "arn:aws:iam::123456789012:role/refund-bot"
AWS = "https://sts.amazonaws.com/"
KNOWN: dict[str, Any] = {
    "aws_account": "123456789012",
    "source_region": "eu-central-1",
    "org_id": "o-abc1234567",
    "ou_path": "o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/",
    "principal_tags": {"team": "refunds"},
    "lambda_source_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:refunds",
    "request_tags": {"job": "7"},
}
GOOD = {"sub": ROLE, AWS: KNOWN}


@pytest.fixture
def account() -> Iterator[Door]:
    """An account with one bound role."""
    with door("aws", GOOD, {"sub": ROLE}, "workload") as opened:
        yield opened


def known(**changes: object) -> dict[str, object]:
    """What AWS knows, with members changed or left out."""
    return {AWS: {k: v for k, v in {**KNOWN, **changes}.items() if v is not WITHOUT}}


def test_every_claim_of_a_role_is_accounted_for(account: Door) -> None:
    """Nothing of the documented token is left to be reported; anything new is, by its place."""
    assert account.enter(account.token(**known(moon="full"))).agent == "refund-bot"
    assert account.told[0].unaccounted == (f"{AWS}/moon",)
    assert account.told[0].noted[f"{AWS}/source_region"] == "eu-central-1"


@pytest.mark.parametrize(
    ("name", "value"), [("org_id", "o-abc1234567"), ("principal_tags/team", "refunds")]
)
def test_what_aws_knows_can_be_pinned_too(account: Door, name: str, value: str) -> None:
    """By the claim's name and the member's, with a slash between."""
    account.pins[f"{AWS}/{name}"] = value
    assert account.enter(account.token()).agent == "refund-bot"
    account.pins[f"{AWS}/{name}"] = "other"
    with pytest.raises(UnknownAgent):
        account.enter(account.token())


REFUSED: dict[str, dict[str, object]] = {
    "is of an account's root": {"sub": "arn:aws:iam::123456789012:root"},
    "is of a session": {"sub": "arn:aws:sts::123456789012:assumed-role/refund-bot/x"},
    "is of no ARN": {"sub": "refund-bot"},
    "is of another account by its subject": {"sub": ROLE.replace("1234", "9999", 1)},
    "is of another account by its claims": known(aws_account="999999999999"),
    "has a number for its account": known(aws_account=123456789012),
    "has no account": known(aws_account=WITHOUT),
    "has no claims of AWS": {AWS: WITHOUT},
    "has a list for claims of AWS": {AWS: ["aws_account"]},
    "is for another": {"aud": "https://other.example"},
    "lives longer than an hour": {"exp": 4102444800},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_token_is_refused_when_it(account: Door, why: str) -> None:
    """Each of these alone is enough."""
    with pytest.raises(Unauthenticated):
        account.enter(account.token(**REFUSED[why]))


def test_another_role_of_the_account_is_nobody(account: Door) -> None:
    """Roles are bound whole."""
    with pytest.raises(UnknownAgent):
        account.enter(account.token(sub=f"{ROLE}-2"))


@pytest.mark.parametrize(
    "pins",
    [
        {f"{AWS}/aws_account": "123456789012"},
        {"sub": "arn:aws:iam::123456789012:root"},
        {"sub": "arn:aws:iam::123456789012:role/"},
        {"sub": ROLE, f"{AWS}/request_tags/job": "7"},
    ],
    ids=str,
)
def test_a_binding_to_less_than_one_role_is_refused(pins: dict[str, str]) -> None:
    """And request tags are what the asker wrote."""
    assert check_binding([("sub", ROLE)], "aws") is None
    with pytest.raises(TrustRuleTooWide):
        check_binding(pins.items(), "aws")
