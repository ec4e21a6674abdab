"""Where the claims about AWS are tried: the emulator, Ceph's gateway, a real account.

A real account is tried by `make test-aws` alone, with the variables of `REAL`; docs/aws.md says
what it must hold. What a place does not know, no claim asks of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.aws import radosgw
from valetkey.devstack import process
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import Aws, client

EVERYTHING = exports.policy({"Effect": "Allow", "Action": "*", "Resource": "*"})
EU, US = "eu/claim.txt", "us/claim.txt"
CUT = "valetkey-claims"
"""The inline policy that claims write; not the one of a running installation."""

ALL = frozenset(
    {"tags", "source_identity", "identity", "trust", "limits", "codes", "sealed_tokens"}
)
KNOWS: Mapping[str, frozenset[str]] = {"emulator": ALL, "radosgw": frozenset(), "aws": ALL}
REAL = "VALETKEY_TEST_AWS"
SECONDS = 900


def available() -> list[str]:
    """The names of the places that claims can be tried at, here and now."""
    found = ["emulator"]
    if radosgw.installed():
        found.append("radosgw")
    if os.environ.get(REAL) == "yes":
        found.append("aws")
    return found


@dataclass(frozen=True)
class Used:
    """A session in use: what STS answered, and a client that holds it."""

    cloud: Cloud
    answer: Mapping[str, Any]

    @property
    def keys(self) -> tuple[str, str, str]:
        """Access key id, secret and token."""
        told = self.answer["Credentials"]
        return told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"]

    def client(self, service: str) -> Any:
        """A client of `service` with this session's credentials."""
        return client(self.cloud.endpoint, service, self.keys, self.cloud.region)

    def may(self, call: str = "get_object", **arguments: Any) -> bool:
        """Whether S3 does it: False when it answers 403. Raises ClientError otherwise."""
        named = {"Bucket": self.cloud.bucket, **(arguments or {"Key": EU})}
        try:
            getattr(self.client("s3"), call)(**named)
        except ClientError as error:
            if status_of(error) == 403:
                return False
            raise
        return True

    @property
    def issued_at(self) -> datetime:
        """When STS issued it, by its own clock."""
        ends: datetime = self.answer["Credentials"]["Expiration"]
        return ends - timedelta(seconds=SECONDS)


@dataclass(frozen=True)
class Cloud:
    """One place: clients of the broker there, and the target they work on."""

    name: str
    endpoint: str | None
    region: str
    role_arn: str
    bucket: str
    external_id: str | None
    sts: Any
    iam: Any
    patience: float
    """Seconds until a change of a policy must have taken effect."""
    turn: Callable[..., None] | None = None
    """Turns the place's clock, where it has one of its own to turn."""

    @property
    def role(self) -> str:
        """The role's name."""
        return self.role_arn.rpartition("/")[2]

    def session(self, policy: str = EVERYTHING, **more: Any) -> Used:
        """A session of the role, narrowed by `policy`. Raises ClientError."""
        asked: dict[str, Any] = {
            "RoleArn": self.role_arn,
            "RoleSessionName": "vk-claim",
            "DurationSeconds": SECONDS,
            "Policy": policy,
        }
        if self.external_id is not None:
            asked["ExternalId"] = self.external_id
        return Used(self, self.sts.assume_role(**(asked | more)))

    def cut(self, condition: Mapping[str, Any]) -> None:
        """Write the cut: a deny of everything to whom `condition` names."""
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
        document = exports.policy(deny)
        self.iam.put_role_policy(RoleName=self.role, PolicyName=CUT, PolicyDocument=document)

    def uncut(self) -> None:
        """Take the cut away, if it is there."""
        if CUT in self.iam.list_role_policies(RoleName=self.role)["PolicyNames"]:
            self.iam.delete_role_policy(RoleName=self.role, PolicyName=CUT)

    def pass_by(self, instant: datetime) -> bool:
        """Wait until `instant` has passed there; whether it did."""
        if self.turn is not None:
            self.turn(ahead=max(0.0, (instant - datetime.now(UTC)).total_seconds() + 1.0))
        late = instant + timedelta(seconds=1.0)
        return self.turn is not None or process.wait_until(lambda: datetime.now(UTC) > late, 30.0)

    def becomes(self, used: Used, allowed: bool) -> bool:
        """Wait until `used` may read, or may not; whether it came to that in time."""
        return process.wait_until(lambda: used.may() is allowed, self.patience, pause=0.1)


def status_of(error: ClientError) -> int:
    """The HTTP status of a refusal: the codes of Ceph's IAM are not AWS's."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def emulated(aws: Aws) -> Cloud:
    """The emulator, with the dev stack's sample target."""
    return Cloud(
        name="emulator",
        endpoint=aws.address,
        region=exports.REGION,
        role_arn=exports.ROLE_ARN,
        bucket=exports.BUCKET,
        external_id=aws.external_id(),
        sts=aws.client("sts", exports.BROKER),
        iam=aws.client("iam", exports.BROKER),
        patience=5.0,
        turn=aws.turn,
    )


def ceph(gateway: radosgw.Gateway) -> Cloud:
    """Ceph's gateway, with the same target laid out as far as it knows how."""
    sts, iam, s3 = (
        client(gateway.address, name, radosgw.BROKER, "") for name in ("sts", "iam", "s3")
    )
    s3.create_bucket(Bucket=exports.BUCKET)
    principal = {"AWS": ["arn:aws:iam:::user/broker"]}
    trust = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole"]}
    role = iam.create_role(RoleName=exports.ROLE, AssumeRolePolicyDocument=exports.policy(trust))[
        "Role"
    ]
    iam.put_role_policy(RoleName=exports.ROLE, PolicyName="access", PolicyDocument=exports.access())
    return Cloud(
        name="radosgw",
        endpoint=gateway.address,
        region="",
        role_arn=role["Arn"],
        bucket=exports.BUCKET,
        external_id=None,
        sts=sts,
        iam=iam,
        patience=5.0,
    )


def real(environment: Mapping[str, str]) -> Cloud:
    """A real account. Raises KeyError for a variable that is not set."""
    session = boto3.Session(
        profile_name=environment.get(f"{REAL}_PROFILE"), region_name=environment[f"{REAL}_REGION"]
    )
    patient = Config(retries={"mode": "standard"})
    return Cloud(
        name="aws",
        endpoint=None,
        region=environment[f"{REAL}_REGION"],
        role_arn=environment[f"{REAL}_ROLE_ARN"],
        bucket=environment[f"{REAL}_BUCKET"],
        external_id=environment[f"{REAL}_EXTERNAL_ID"],
        sts=session.client("sts", config=patient),
        iam=session.client("iam", config=patient),
        patience=120.0,
    )


def lay_out(cloud: Cloud, ending: ExitStack) -> None:
    """Put the two objects there that claims read; `ending` takes them away."""
    cloud.uncut()
    s3 = cloud.session().client("s3")
    for key in (EU, US):
        s3.put_object(Bucket=cloud.bucket, Key=key, Body=b"claimed")
        ending.callback(s3.delete_object, Bucket=cloud.bucket, Key=key)
