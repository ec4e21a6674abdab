"""Sessions of the emulator's sample role, as the broker gets them and an agent uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import Aws, client

EVERYTHING = exports.policy({"Effect": "Allow", "Action": "*", "Resource": "*"})
EU, US = "eu/2026-01.csv", "us/2026-01.csv"


@dataclass(frozen=True)
class Session:
    """One role session: what STS answered, and clients that use it."""

    endpoint: str
    answer: dict[str, Any]

    @property
    def keys(self) -> tuple[str, str, str]:
        """Access key id, secret and token."""
        told = self.answer["Credentials"]
        return told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"]

    def client(self, service: str) -> Any:
        """A client of `service` that uses this session."""
        return client(self.endpoint, service, self.keys)

    def read(self, key: str = EU) -> str:
        """What is in an object of the sample bucket. Raises ClientError."""
        got = self.client("s3").get_object(Bucket=exports.BUCKET, Key=key)
        return str(got["Body"].read().decode())


def assume(aws: Aws, policy: str | None = EVERYTHING, **more: Any) -> Session:
    """A session of the sample role, asked for by the broker. Raises ClientError."""
    arguments = {
        "RoleArn": exports.ROLE_ARN,
        "RoleSessionName": "vk-test",
        "ExternalId": aws.external_id(),
        "DurationSeconds": 900,
    } | more
    if policy is not None:
        arguments["Policy"] = policy
    return Session(aws.address, aws.client("sts", exports.BROKER).assume_role(**arguments))


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    """The error code of a refusal."""
    return str(caught.value.response["Error"]["Code"])


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    """The error code with which `call` is refused; fails the test when it is not."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    return code_of(caught)
