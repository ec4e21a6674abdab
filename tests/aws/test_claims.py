"""What Valetkey relies on at AWS, claimed of every place that can be had.

The same tests run on the emulator, on Ceph's gateway as far as it knows the matter, and by
`make test-aws` on a real account. What ran only on the emulator is unproven on AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.clouds import CUT, EU, EVERYTHING, US, Cloud, Used, status_of
from valetkey.devstack import process
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import client

needs = pytest.mark.needs
PLAIN_ALLOW = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture
def role(cloud: Cloud) -> Iterator[Cloud]:
    """The place, whose role has no cut when the test is over, and whose clock is right."""
    yield cloud
    cloud.uncut()
    if cloud.turn is not None:
        cloud.turn(ahead=0)


def tagged(cloud: Cloud, lease: str, **more: Any) -> Used:
    """A session that carries a lease's tag."""
    return cloud.session(Tags=[{"Key": "valetkey-lease", "Value": lease}], **more)


def on(cloud: Cloud, prefix: str, *actions: str) -> dict[str, Any]:
    """A statement that allows `actions` below `prefix`."""
    where = f"arn:aws:s3:::{cloud.bucket}/{prefix}*"
    return {"Effect": "Allow", "Action": list(actions), "Resource": [where]}


def status(call: Any, **arguments: Any) -> int:
    """The HTTP status with which a call is refused; fails the test when it is not."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return status_of(caught.value)


def test_a_session_is_narrowed_to_a_prefix(cloud: Cloud) -> None:
    """It reads below its prefix; another prefix, writing and listing are refused."""
    used = cloud.session(exports.policy(on(cloud, "eu/", "s3:GetObject")))
    assert used.may(Key=EU)
    assert not used.may(Key=US)
    assert not used.may("put_object", Key="eu/other.txt", Body=b"")
    assert not used.may("list_objects_v2", Prefix="eu/")


def test_listing_is_narrowed_to_a_prefix(cloud: Cloud) -> None:
    """By the condition key s3:prefix; listing everything is refused."""
    listing = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{cloud.bucket}"],
        "Condition": {"StringLike": {"s3:prefix": ["eu/*"]}},
    }
    used = cloud.session(exports.policy(listing))
    assert used.may("list_objects_v2", Prefix="eu/")
    assert not used.may("list_objects_v2", Prefix="us/")
    assert not used.may("list_objects_v2", Prefix="")


def test_a_session_policy_gives_no_more_than_the_role_has(cloud: Cloud) -> None:
    """A session that was allowed everything cannot touch another bucket."""
    used = cloud.session(EVERYTHING)
    assert used.may(Key=EU)
    assert not used.may("create_bucket", Bucket="valetkey-claims-another-bucket")


def test_a_fence_in_the_session_policy_ends_the_session(role: Cloud) -> None:
    """As a condition of what is allowed, and as a deny of everything from its instant on."""
    probe = role.session()
    instant = probe.issued_at + timedelta(seconds=4)
    fence = instant.strftime("%Y-%m-%dT%H:%M:%SZ")
    until = {"DateLessThan": {"aws:CurrentTime": fence}}
    since = {"DateGreaterThanEquals": {"aws:CurrentTime": fence}}
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": since}
    allowed = role.session(exports.policy({**PLAIN_ALLOW, "Condition": until}))
    denied = role.session(exports.policy(PLAIN_ALLOW, deny))
    assert allowed.may()
    assert denied.may()
    assert role.pass_by(instant)
    assert role.becomes(allowed, False)
    assert role.becomes(denied, False)
    assert probe.may()


def test_a_deny_at_the_role_cuts_a_live_session_and_its_removal_restores_it(role: Cloud) -> None:
    """Permissions are evaluated on every request."""
    used = role.session()
    assert used.may()
    role.cut({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})
    assert role.becomes(used, False)
    role.uncut()
    assert role.becomes(used, True)


def test_a_deny_by_issue_time_cuts_older_sessions_only(role: Cloud) -> None:
    """aws:TokenIssueTime: what is issued from that instant on lives."""
    old = role.session()
    cut_at = old.issued_at + timedelta(seconds=2)
    role.cut({"DateLessThan": {"aws:TokenIssueTime": cut_at.strftime("%Y-%m-%dT%H:%M:%SZ")}})
    assert role.becomes(old, False)
    assert role.pass_by(cut_at)
    new = role.session()
    assert new.issued_at >= cut_at
    assert new.may()
    assert not old.may()


@needs("tags")
def test_a_deny_by_session_tag_cuts_that_session_only(role: Cloud) -> None:
    """aws:PrincipalTag: the tag of one lease; the other of the same role goes on."""
    one, two, none = tagged(role, "lease-one"), tagged(role, "lease-two"), role.session()
    role.cut({"StringEquals": {"aws:PrincipalTag/valetkey-lease": ["lease-one", "lease-old"]}})
    assert role.becomes(one, False)
    assert two.may()
    assert none.may()


@needs("tags")
def test_a_session_asked_for_after_its_cut_is_born_dead(role: Cloud) -> None:
    """The second tap: a mint in flight gives nothing that works."""
    first = tagged(role, "lease-late")
    role.cut({"StringEquals": {"aws:PrincipalTag/valetkey-lease": ["lease-late"]}})
    assert role.becomes(first, False)
    assert not tagged(role, "lease-late").may()


@needs("source_identity")
def test_a_deny_by_source_identity_or_user_id_cuts(role: Cloud) -> None:
    """aws:SourceIdentity is a whole agent; aws:userid is the AssumedRoleId that STS told."""
    one = role.session(SourceIdentity="vk-agent-one", RoleSessionName="vk-one")
    two = role.session(SourceIdentity="vk-agent-two", RoleSessionName="vk-two")
    role.cut({"StringEquals": {"aws:SourceIdentity": "vk-agent-one"}})
    assert role.becomes(one, False)
    assert two.may()
    role.cut({"StringEquals": {"aws:userid": two.answer["AssumedRoleUser"]["AssumedRoleId"]}})
    assert role.becomes(two, False)


@needs("identity")
def test_who_a_session_is_cannot_be_denied(role: Cloud) -> None:
    """GetCallerIdentity answers a session that is cut: what trusts it must be ended by itself."""
    used = role.session()
    role.cut({"Null": {"aws:TokenIssueTime": "false"}})
    assert role.becomes(used, False)
    assert used.client("sts").get_caller_identity()["Arn"] == used.answer["AssumedRoleUser"]["Arn"]


def test_a_policy_of_the_role_is_read_back_as_it_was_written(role: Cloud) -> None:
    """What re-assertion compares: put, listed, got, replaced, deleted."""
    named = {"RoleName": role.role, "PolicyName": CUT}
    for second in ("01", "02"):
        condition = {"DateLessThan": {"aws:TokenIssueTime": f"2020-01-01T00:00:{second}Z"}}
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
        document = exports.policy(deny)
        role.iam.put_role_policy(**named, PolicyDocument=document)

        def holds(wanted: str = document) -> bool:
            got = role.iam.get_role_policy(**named)["PolicyDocument"]
            return bool(got == json.loads(wanted))

        assert process.wait_until(holds, role.patience)
    assert CUT in role.iam.list_role_policies(RoleName=role.role)["PolicyNames"]
    role.iam.delete_role_policy(**named)
    assert status(role.iam.get_role_policy, **named) == 404


@pytest.mark.parametrize("part", ["another's token", "no token", "secret"])
def test_credentials_that_do_not_belong_together_are_refused(cloud: Cloud, part: str) -> None:
    """Another session's token, no token, a wrong secret: none gets anything."""
    key, secret, token = cloud.session().keys
    other = cloud.session().keys[2]
    keys = {"another's token": (key, secret, other), "no token": (key, secret),
            "secret": (key, secret[::-1], token)}  # fmt: skip
    s3 = client(cloud.endpoint, "s3", keys[part], cloud.region)
    assert status(s3.get_object, Bucket=cloud.bucket, Key=EU) in (400, 403)


@needs("sealed_tokens")
def test_a_token_with_one_character_changed_is_refused(cloud: Cloud) -> None:
    """Wherever it is; Ceph 16 encrypts its tokens but does not seal them, and takes some."""
    key, secret, token = cloud.session().keys
    for place in (0, len(token) // 2, len(token) - 3):
        wrong = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        s3 = client(cloud.endpoint, "s3", (key, secret, wrong), cloud.region)
        assert status(s3.get_object, Bucket=cloud.bucket, Key=EU) in (400, 403)


@needs("trust")
def test_the_role_is_given_to_the_broker_alone_and_with_its_external_id(cloud: Cloud) -> None:
    """A wrong external id, and a session that would assume the role itself, are refused."""
    assert status(cloud.session, ExternalId="guessed-external-id") == 403
    asked = {"RoleArn": cloud.role_arn, "RoleSessionName": "vk-x"}
    assert status(cloud.session().client("sts").assume_role, **asked) == 403


@needs("trust")
def test_the_broker_itself_may_neither_touch_the_target_nor_widen_the_role(cloud: Cloud) -> None:
    """Its own identity assumes and cuts, and no more."""
    iam = cloud.iam
    changed = {"RoleName": cloud.role, "PolicyDocument": exports.trust("x")}
    assert status(iam.update_assume_role_policy, **changed) == 403
    assert status(iam.delete_role_permissions_boundary, RoleName=cloud.role) == 403
    assert status(iam.list_users) == 403


@needs("trust")
def test_no_inline_policy_gives_the_role_more_than_its_boundary(role: Cloud) -> None:
    """Who may write the cut may write any inline policy: the boundary is what holds."""
    role.iam.put_role_policy(RoleName=role.role, PolicyName=CUT, PolicyDocument=EVERYTHING)
    used = role.session()
    assert not used.may("create_bucket", Bucket="valetkey-claims-another-bucket")
    assert status(used.client("iam").list_users) == 403


@needs("limits", "codes")
def test_what_is_too_long_is_refused_and_not_cut_short(role: Cloud) -> None:
    """Session policies of 2,048 characters, inline policies of 10,240 together."""
    whole = exports.policy(on(role, "eu/", "s3:GetObject"))
    padded = exports.policy(on(role, "eu/" + "x" * (2049 - len(whole)), "s3:GetObject"))
    with pytest.raises(ClientError) as caught:
        role.session(padded)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    long = {"StringEquals": {"aws:userid": ["x" * 10_240]}}
    with pytest.raises(ClientError) as caught:
        role.cut(long)
    assert caught.value.response["Error"]["Code"] == "LimitExceeded"


@needs("limits", "codes")
def test_a_session_longer_than_the_role_allows_is_refused(cloud: Cloud) -> None:
    """It fails and is not clamped, so the catalogue must know the role's longest."""
    longest = cloud.iam.get_role(RoleName=cloud.role)["Role"]["MaxSessionDuration"]
    with pytest.raises(ClientError) as caught:
        cloud.session(DurationSeconds=longest + 1)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
