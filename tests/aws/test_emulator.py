"""The emulator judges as AWS documents, towards an unmodified boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config

from tests.aws.sessions import EU, EVERYTHING, US, assume, refusal
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import Aws, client
from valetkey.devstack.process import wait_until

BUCKET = exports.BUCKET
ONLY_EU = exports.policy(
    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/eu/*"}
)


@pytest.fixture
def cut(aws: Aws) -> Iterator[Any]:
    """Writes the role's cut policy as the broker does; it is gone when the test is over."""
    iam = aws.client("iam", exports.BROKER)
    name = {"RoleName": exports.ROLE, "PolicyName": exports.CUT_POLICY}

    def put(condition: dict[str, Any]) -> None:
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
        iam.put_role_policy(**name, PolicyDocument=exports.policy(deny))

    yield put
    aws.client("iam").delete_role_policy(**name)


def test_a_session_reads_what_its_policy_allows_and_no_more(aws: Aws) -> None:
    """The session policy narrows the role."""
    session = assume(aws, ONLY_EU)
    s3 = session.client("s3")
    assert session.read(EU).startswith("order,total")
    assert refusal(session.read, US) == "AccessDenied"
    assert refusal(s3.put_object, Bucket=BUCKET, Key="eu/new", Body=b"") == "AccessDenied"
    assert refusal(s3.list_objects_v2, Bucket=BUCKET) == "AccessDenied"


def test_a_session_policy_cannot_give_more_than_the_role_has(aws: Aws) -> None:
    """Asking for everything gives the role's own permissions."""
    session = assume(aws, EVERYTHING)
    assert session.read(US).startswith("order,total")
    assert refusal(session.client("s3").create_bucket, Bucket="another") == "AccessDenied"
    assert refusal(session.client("iam").get_role, RoleName=exports.ROLE) == "AccessDenied"


def test_listing_is_narrowed_by_prefix(aws: Aws) -> None:
    """The condition key s3:prefix; without a prefix in the request it does not match."""
    listing = exports.policy(
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{BUCKET}",
            "Condition": {"StringLike": {"s3:prefix": "eu/*"}},
        }
    )
    s3 = assume(aws, listing).client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="eu/")
    assert [one["Key"] for one in found["Contents"]] == ["eu/2026-01.csv", "eu/2026-02.csv"]
    assert refusal(s3.list_objects_v2, Bucket=BUCKET, Prefix="us/") == "AccessDenied"
    assert refusal(s3.list_objects_v2, Bucket=BUCKET) == "AccessDenied"


def test_who_may_not_list_is_not_told_that_a_key_is_missing(aws: Aws) -> None:
    """S3 API reference, GetObject: 404 with s3:ListBucket, 403 without."""
    assert refusal(assume(aws, EVERYTHING).read, "eu/none") == "NoSuchKey"
    assert refusal(assume(aws, ONLY_EU).read, "eu/none") == "AccessDenied"


@pytest.mark.parametrize(
    ("service", "code"), [("s3", "ExpiredToken"), ("sts", "ExpiredToken")], ids=["s3", "sts"]
)
def test_a_session_ends_at_its_expiration(aws: Aws, service: str, code: str) -> None:
    """After `Expiration` every call is refused, GetCallerIdentity too."""
    session = assume(aws)
    used = session.client(service)
    call = used.get_caller_identity if service == "sts" else used.list_buckets
    aws.turn(ahead=890)
    if service == "sts":
        assert call()["Arn"].endswith(f"assumed-role/{exports.ROLE}/vk-test")
    aws.turn(ahead=901)
    assert refusal(call) == code


def test_a_fence_in_the_session_policy_ends_it_earlier(aws: Aws) -> None:
    """aws:CurrentTime: a TTL below the 900 s that STS gives at least."""
    session = assume(aws)
    now = session.answer["Credentials"]["Expiration"]
    until = now.replace(microsecond=0).timestamp() - 900 + 60
    fence = {"DateGreaterThanEquals": {"aws:EpochTime": str(int(until))}}
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": fence}
    fenced = assume(aws, exports.policy(json.loads(EVERYTHING)["Statement"][0], deny))
    assert fenced.read()
    aws.turn(ahead=61)
    assert refusal(fenced.read) == "AccessDenied"
    assert session.read()


def test_a_deny_by_tag_cuts_one_live_session(aws: Aws, cut: Any) -> None:
    """Session tags are aws:PrincipalTag; other sessions of the role go on."""
    tags = [[{"Key": "valetkey-lease", "Value": name}] for name in ("one", "two")]
    one, two = (assume(aws, Tags=tag) for tag in tags)
    cut({"StringEquals": {"aws:PrincipalTag/valetkey-lease": ["one"]}})
    assert refusal(one.read) == "AccessDenied"
    assert two.read()


def test_a_deny_by_issue_time_cuts_what_was_issued_before(aws: Aws, cut: Any) -> None:
    """aws:TokenIssueTime; a session issued at that instant or later lives."""
    old = assume(aws)
    aws.turn(ahead=2)
    new = assume(aws)
    at = new.answer["Credentials"]["Expiration"].timestamp() - 900
    cut({"DateLessThan": {"aws:TokenIssueTime": str(int(at))}})
    assert refusal(old.read) == "AccessDenied"
    assert new.read()


def test_a_deny_by_user_id_or_source_identity_cuts(aws: Aws, cut: Any) -> None:
    """aws:userid is the AssumedRoleId that STS answered; aws:SourceIdentity what was set."""
    one = assume(aws, SourceIdentity="agent-one")
    assert one.answer["SourceIdentity"] == "agent-one"
    cut({"StringEquals": {"aws:userid": one.answer["AssumedRoleUser"]["AssumedRoleId"]}})
    assert refusal(one.read) == "AccessDenied"
    cut({"StringEquals": {"aws:SourceIdentity": "agent-one"}})
    assert refusal(one.read) == "AccessDenied"
    assert assume(aws, SourceIdentity="agent-two").read()


def test_who_a_session_is_can_never_be_denied(aws: Aws, cut: Any) -> None:
    """STS API reference, GetCallerIdentity: no permissions are required."""
    session = assume(aws)
    cut({"Null": {"aws:TokenIssueTime": "false"}})
    assert refusal(session.read) == "AccessDenied"
    assert session.client("sts").get_caller_identity()["Arn"].endswith("/vk-test")


def test_a_policy_takes_effect_late_when_told_so(aws: Aws, cut: Any) -> None:
    """IAM is eventually consistent: reads show the change before it has effect."""
    session = assume(aws)
    aws.turn(lag=1.5)
    cut({"Null": {"aws:TokenIssueTime": "false"}})
    named = {"RoleName": exports.ROLE, "PolicyName": exports.CUT_POLICY}
    assert aws.client("iam", exports.BROKER).get_role_policy(**named)["PolicyDocument"]
    assert session.read()

    def is_cut() -> bool:
        try:
            return not session.read()
        except Exception as error:  # noqa: BLE001  which one is claimed below
            return "AccessDenied" in str(error)

    assert wait_until(is_cut, 10.0)


def test_the_broker_may_do_to_its_role_what_it_needs_and_nothing_else(aws: Aws) -> None:
    """Its own policy names one role, and no more of IAM than the cut needs."""
    iam, s3 = aws.client("iam", exports.BROKER), aws.client("s3", exports.BROKER)
    assert iam.get_role(RoleName=exports.ROLE)["Role"]["MaxSessionDuration"] == exports.LONGEST
    assert iam.list_role_policies(RoleName=exports.ROLE)["PolicyNames"] == ["access"]
    assert iam.list_role_tags(RoleName=exports.ROLE)["Tags"] == []
    assert refusal(s3.list_objects_v2, Bucket=BUCKET) == "AccessDenied"
    assert refusal(s3.get_object, Bucket=BUCKET, Key=EU) == "AccessDenied"
    assert refusal(iam.list_users) == "AccessDenied"
    assert refusal(iam.get_role, RoleName="another") == "AccessDenied"
    trust = {"RoleName": exports.ROLE, "PolicyDocument": exports.trust("x")}
    assert refusal(iam.update_assume_role_policy, **trust) == "AccessDenied"
    gone = {"RoleName": exports.ROLE, "PermissionsBoundary": "arn:aws:iam::aws:policy/x"}
    assert refusal(iam.put_role_permissions_boundary, **gone) == "AccessDenied"


def test_nothing_written_into_the_role_gives_it_more_than_its_boundary(aws: Aws) -> None:
    """IAM knows no condition on the name of an inline policy; a permissions boundary bounds it."""
    iam = aws.client("iam", exports.BROKER)
    named = {"RoleName": exports.ROLE, "PolicyName": "more"}
    iam.put_role_policy(**named, PolicyDocument=EVERYTHING)
    session = assume(aws)
    assert refusal(session.client("s3").create_bucket, Bucket="another") == "AccessDenied"
    assert refusal(session.client("iam").list_users) == "AccessDenied"
    iam.delete_role_policy(**named)


@pytest.mark.parametrize(
    "change",
    [
        {"ExternalId": "guessed"},
        {"RoleSessionName": "other-name"},
        {"Tags": [{"Key": "department", "Value": "x"}]},
        {"RoleArn": "arn:aws:iam::123456789012:role/none"},
    ],
    ids=["external id", "session name", "tag", "role"],
)
def test_the_trust_policy_decides_who_gets_a_session(aws: Aws, change: dict[str, Any]) -> None:
    """Each statement has its own conditions."""
    assert refusal(assume, aws, **change) == "AccessDenied"


def test_neither_a_session_nor_the_root_may_assume_the_role(aws: Aws) -> None:
    """The trust policy names one user; roles may not be assumed by root accounts."""
    asked = {
        "RoleArn": exports.ROLE_ARN,
        "RoleSessionName": "vk-x",
        "ExternalId": aws.external_id(),
    }
    assert refusal(assume(aws).client("sts").assume_role, **asked) == "AccessDenied"
    assert refusal(aws.client("sts").assume_role, **asked) == "AccessDenied"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"DurationSeconds": 43_201}, "ValidationError"),
        ({"DurationSeconds": exports.LONGEST + 1}, "ValidationError"),
        ({"policy": EVERYTHING + " " * (2049 - len(EVERYTHING))}, "ValidationError"),
        ({"policy": "{}"}, "MalformedPolicyDocument"),
        ({"RoleSessionName": "vk- "}, "ValidationError"),
        ({"RoleSessionName": "v" * 65}, "ValidationError"),
        ({"SourceIdentity": "aws:x"}, "ValidationError"),
        ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "ValidationError"),
        ({"Tags": [{"Key": k, "Value": "y"} for k in ("valetkey-a", "Valetkey-A")]}, "ValidationError"),
        ({"Tags": [{"Key": f"valetkey-{n}", "Value": "y"} for n in range(51)]}, "ValidationError"),
    ],
    ids=str,
)  # fmt: skip
def test_sts_refuses_what_is_beyond_its_limits(aws: Aws, change: dict[str, Any], code: str) -> None:
    """STS API reference, AssumeRole: durations, lengths, patterns, tags."""
    assert refusal(assume, aws, **change) == code


def test_less_than_fifteen_minutes_is_refused(aws: Aws) -> None:
    """AssumeRole: DurationSeconds is 900 at least; boto3 says so before us, so asked without it."""
    keys = aws.credentials_file.read_text().split()
    plain = boto3.client(
        "sts",
        endpoint_url=aws.address,
        region_name="eu-central-1",
        aws_access_key_id=keys[3],
        aws_secret_access_key=keys[6],
        config=Config(parameter_validation=False),
    )
    asked = {
        "RoleArn": exports.ROLE_ARN,
        "RoleSessionName": "vk-x",
        "ExternalId": aws.external_id(),
    }
    assert refusal(plain.assume_role, **asked, DurationSeconds=899) == "ValidationError"


def test_inline_policies_of_a_role_have_one_limit_together(aws: Aws) -> None:
    """IAM quotas: 10,240 characters for all of them, whitespace not counted."""
    iam = aws.client("iam", exports.BROKER)
    named = {"RoleName": exports.ROLE, "PolicyName": exports.CUT_POLICY}

    def document(size: int) -> str:
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
        frame = {**deny, "Condition": {"StringEquals": {"aws:userid": ""}}}
        room = size - len(exports.policy(frame))
        frame["Condition"] = {"StringEquals": {"aws:userid": "x" * room}}
        return exports.policy(frame)

    room = 10_240 - len(exports.access())
    assert (
        refusal(iam.put_role_policy, **named, PolicyDocument=document(room + 1)) == "LimitExceeded"
    )
    iam.put_role_policy(**named, PolicyDocument=document(room).replace(":", ": ", 5))
    iam.delete_role_policy(**named)
    assert refusal(iam.get_role_policy, **named) == "NoSuchEntity"


@pytest.mark.parametrize(
    ("keys", "s3_code", "sts_code"),
    [
        (("{id}", "{secret}", "{token}x"), "InvalidToken", "InvalidClientTokenId"),
        (("{id}", "{secret}"), "InvalidAccessKeyId", "InvalidClientTokenId"),
        (("{id}", "{secret}x", "{token}"), "SignatureDoesNotMatch", "SignatureDoesNotMatch"),
        (("ASIAUNKNOWN", "{secret}", "{token}"), "InvalidAccessKeyId", "InvalidClientTokenId"),
    ],
    ids=["tampered token", "no token", "tampered secret", "unknown key"],
)
def test_credentials_that_are_not_whole_are_refused(
    aws: Aws, keys: tuple[str, ...], s3_code: str, sts_code: str
) -> None:
    """S3 and STS error codes for credentials; signatures are really verified."""
    names = dict(zip(("id", "secret", "token"), assume(aws).keys, strict=True))
    used = tuple(key.format(**names) for key in keys)
    s3, sts = (client(aws.address, service, used) for service in ("s3", "sts"))
    assert refusal(s3.get_object, Bucket=BUCKET, Key=EU) == s3_code
    assert refusal(sts.get_caller_identity) == sts_code


def test_nobody_without_a_signature_gets_anything(aws: Aws) -> None:
    """Anonymous requests, and moto's own interface, are shut."""
    paths = (f"/{BUCKET}/{EU}", "/moto-api/state", "/moto-api/reset", "/")
    answers = [urllib3.request("GET", aws.address + path).status for path in paths]
    assert answers == [403, 403, 403, 403]


def test_a_presigned_url_is_judged_as_the_session_that_signed_it(aws: Aws) -> None:
    """Signature Version 4 in the query string."""
    session = assume(aws, ONLY_EU)
    s3 = session.client("s3")
    urls = [
        s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": name})
        for name in (EU, US)
    ]
    answers = [urllib3.request("GET", url).status for url in (*urls, urls[0] + "0")]
    assert answers == [200, 403, 403]


def test_what_a_request_needs_beside_its_action_is_judged_too(aws: Aws) -> None:
    """Copying reads the source; deleting several needs each; multipart uploads are puts."""
    put_eu = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject"],
              "Resource": f"arn:aws:s3:::{BUCKET}/eu/*"}  # fmt: skip
    s3 = assume(aws, exports.policy(put_eu)).client("s3")
    copied = {"Bucket": BUCKET, "Key": "eu/copy", "CopySource": f"{BUCKET}/{EU}"}
    assert refusal(s3.copy_object, **copied) == "AccessDenied"
    names = {"Objects": [{"Key": "eu/none"}, {"Key": "us/none"}]}
    assert refusal(s3.delete_objects, Bucket=BUCKET, Delete=names) == "AccessDenied"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="eu/large")["UploadId"]
    part = {"Bucket": BUCKET, "Key": "eu/large", "UploadId": upload, "PartNumber": 1}
    etag = s3.upload_part(**part, Body=b"x" * 100)["ETag"]
    s3.complete_multipart_upload(
        Bucket=BUCKET,
        Key="eu/large",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]},
    )
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "eu/large"}]})
    assert refusal(assume(aws).read, "eu/large") == "NoSuchKey"


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("s3", "put_object_acl", {"Bucket": BUCKET, "Key": EU, "ACL": "public-read"}),
        ("s3", "put_bucket_policy", {"Bucket": BUCKET, "Policy": EVERYTHING}),
        ("s3", "put_object", {"Bucket": BUCKET, "Key": EU, "ACL": "public-read", "Body": b""}),
        ("sts", "get_session_token", {}),
        ("iam", "create_group", {"GroupName": "g"}),
        ("iam", "put_role_policy", {"RoleName": exports.ROLE, "PolicyName": "x", "PolicyDocument":
            exports.policy({"Effect": "Deny", "Action": "*", "Resource": "*",
                            "Condition": {"BinaryEquals": {"aws:userid": "eA=="}}})}),
        ("iam", "put_role_policy", {"RoleName": exports.ROLE, "PolicyName": "x", "PolicyDocument":
            exports.policy({"Effect": "Deny", "Action": "*", "Resource": "*", "Resources": "*"})}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_the_emulator_cannot_judge_is_refused_loudly(
    aws: Aws, service: str, call: str, arguments: dict[str, Any]
) -> None:
    """501 NotImplemented, even to the root: nothing is let through or denied by a guess."""
    assert refusal(getattr(aws.client(service), call), **arguments) == "NotImplemented"


def test_an_unknown_condition_key_in_force_is_refused_loudly(aws: Aws, cut: Any) -> None:
    """A key the emulator does not compute could be true on AWS."""
    session = assume(aws)
    cut({"StringEquals": {"aws:PrincipalOrgID": "o-1"}})
    assert refusal(session.read) == "NotImplemented"


def test_an_answer_can_be_lost_after_its_effect(aws: Aws) -> None:
    """Faults for tests: refused before, or done and the answer lost."""
    iam = aws.client("iam", exports.BROKER)
    named = {"RoleName": exports.ROLE, "PolicyName": exports.CUT_POLICY}
    document = exports.policy({"Effect": "Deny", "Action": "iam:*", "Resource": "*"})
    lost = {"action": "iam:PutRolePolicy", "code": "ServiceFailure", "status": 500}
    aws.turn(faults=[lost, lost | {"after": True}])
    assert refusal(iam.put_role_policy, **named, PolicyDocument=document) == "ServiceFailure"
    assert refusal(iam.get_role_policy, **named) == "NoSuchEntity"
    assert refusal(iam.put_role_policy, **named, PolicyDocument=document) == "ServiceFailure"
    assert iam.get_role_policy(**named)["PolicyDocument"] == json.loads(document)
    iam.delete_role_policy(**named)


def test_only_the_holder_of_the_root_secret_turns_the_knobs(aws: Aws) -> None:
    """Anyone may ask what it is: an emulator, and unproven on AWS."""
    url = f"{aws.address}/_emulator"
    assert urllib3.request("GET", url).json()["unproven_on_aws"] is True
    assert urllib3.request("POST", url, body=b'{"ahead": 3600}').status == 403
    assert urllib3.request("GET", url).json()["ahead"] == 0


def test_secrets_are_in_private_files_and_not_in_the_log(aws: Aws) -> None:
    """The broker's key is a credentials file of mode 0600."""
    session = assume(aws)
    session.read()
    assert aws.credentials_file.stat().st_mode & 0o777 == 0o600
    log = (aws.folder.logs / "aws.log").read_text()
    assert not any(secret in log for secret in session.keys)
