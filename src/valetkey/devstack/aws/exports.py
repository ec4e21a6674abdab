"""The sample target `orders-exports`: a bucket, the role that may read and write it, the broker.

What an administrator lays out in a real account, in the same calls:

- the role trusts the broker's own user alone, with an external id, session names `vk-...`, tags
  `valetkey-...` and a source identity;
- the role may list, read and write the bucket, and a permissions boundary says that nothing
  written into its inline policies can ever give it more: IAM has no condition on the name of an
  inline policy, so who may write the one cut policy may write any;
- the broker may assume the role, and read and write inline policies of exactly that role.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACCOUNT = "123456789012"
REGION = "eu-central-1"
BUCKET = "orders-exports"
ROLE = "valetkey-orders-exports"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
BROKER = "valetkey-broker"
BROKER_ARN = f"arn:aws:iam::{ACCOUNT}:user/{BROKER}"
CUT_POLICY = "valetkey-cut"
ACCESS_POLICY = "access"
BOUNDARY = "valetkey-orders-exports-boundary"
LONGEST = 4 * 3600
"""Seconds: the role's MaxSessionDuration."""

OBJECTS = {
    "eu/2026-01.csv": "order,total\n1001,19.90\n1002,5.00\n",
    "eu/2026-02.csv": "order,total\n1003,42.00\n",
    "us/2026-01.csv": "order,total\n2001,7.25\n",
    "us/2026-02.csv": "order,total\n2002,99.99\n",
    "valetkey/witness": "An object that exists for nothing but being refused.\n",
}


@dataclass(frozen=True)
class Clients:
    """boto3 clients of an administrator."""

    iam: Any
    s3: Any


def compact(document: Mapping[str, Any]) -> str:
    """Write a policy document without whitespace, so that as much as can be fits."""
    return json.dumps(document, separators=(",", ":"))


def policy(*statements: Mapping[str, Any]) -> str:
    """Return a policy document of these statements."""
    return compact({"Version": "2012-10-17", "Statement": list(statements)})


def trust(external_id: str) -> str:
    """Return who may assume the role: one statement per action, for each has its own keys."""
    broker = {"Effect": "Allow", "Principal": {"AWS": BROKER_ARN}}
    assume = {"StringEquals": {"sts:ExternalId": external_id}}
    named = {"StringLike": {"sts:RoleSessionName": "vk-*"}}
    tagged = {"ForAllValues:StringLike": {"aws:TagKeys": "valetkey-*"}}
    return policy(
        {**broker, "Action": "sts:AssumeRole", "Condition": {**assume, **named}},
        {**broker, "Action": "sts:TagSession", "Condition": tagged},
        {**broker, "Action": "sts:SetSourceIdentity"},
    )


def access() -> str:
    """Return what the role may do with the bucket."""
    bucket = f"arn:aws:s3:::{BUCKET}"
    touch = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    return policy(
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
        {"Effect": "Allow", "Action": touch, "Resource": f"{bucket}/*"},
    )


def broker() -> str:
    """Return what the broker's own identity may do, and nothing else."""
    assume = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
    look = ["iam:GetRole", "iam:ListRoleTags", "iam:ListRolePolicies", "iam:GetRolePolicy"]
    cut = ["iam:PutRolePolicy", "iam:DeleteRolePolicy"]
    return policy(
        {"Effect": "Allow", "Action": [*assume, *look, *cut], "Resource": ROLE_ARN},
    )


def provision(clients: Clients, external_id: str) -> None:
    """Lay out bucket, objects, role, boundary and the broker's user; safe to run again.

    Objects are written only with their bucket.

    Raises botocore's ClientError when a step is refused.
    """
    _bucket(clients.s3)
    iam = clients.iam
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/{BOUNDARY}"
    _once(iam, "create_policy", PolicyName=BOUNDARY, PolicyDocument=access())
    _once(iam, "create_user", UserName=BROKER)
    iam.put_user_policy(UserName=BROKER, PolicyName="broker", PolicyDocument=broker())
    _once(
        iam,
        "create_role",
        RoleName=ROLE,
        AssumeRolePolicyDocument=trust(external_id),
        MaxSessionDuration=LONGEST,
        PermissionsBoundary=boundary,
    )
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust(external_id))
    iam.put_role_policy(RoleName=ROLE, PolicyName=ACCESS_POLICY, PolicyDocument=access())


def _bucket(s3: Any) -> None:
    try:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    except s3.exceptions.BucketAlreadyOwnedByYou:
        return
    for key, text in OBJECTS.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())


def _once(iam: Any, call: str, **arguments: Any) -> None:
    try:
        getattr(iam, call)(**arguments)
    except iam.exceptions.EntityAlreadyExistsException:
        return
