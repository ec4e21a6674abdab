"""The one inline policy of ours at a role: written, read, deleted."""

from __future__ import annotations

from dataclasses import dataclass

from valetkey.minters.aws_clients import AwsClients
from valetkey.minters.aws_errors import AWS_TROUBLE, code_of, spoken
from valetkey.minters.aws_policy import NAME, Written, written


class RoleIsFull(Exception):
    """All inline policies of a role together have 10,240 characters, and there is no room."""


@dataclass(frozen=True)
class Roles:
    """Roles by their ARN. Everything here may be done twice; raises what `spoken` says."""

    clients: AwsClients

    def read(self, role_arn: str) -> Written | None:
        """Our policy there; None when there is none, or no such role."""
        try:
            answer = self.clients.iam(role_arn).get_role_policy(
                RoleName=_name(role_arn), PolicyName=NAME
            )
        except AWS_TROUBLE as problem:
            if code_of(problem) == "NoSuchEntity":
                return None
            raise spoken(problem, once=False) from None
        return written(answer["PolicyDocument"])

    def look(self, role_arn: str) -> None:
        """Raise MinterRefused when there is no such role, or we may not see it."""
        try:
            self.clients.iam(role_arn).get_role(RoleName=_name(role_arn))
        except AWS_TROUBLE as problem:
            raise spoken(problem, once=False) from None

    def write(self, role_arn: str, document: str) -> None:
        """Put it there. Raises RoleIsFull when it does not fit."""
        try:
            self.clients.iam(role_arn).put_role_policy(
                RoleName=_name(role_arn), PolicyName=NAME, PolicyDocument=document
            )
        except AWS_TROUBLE as problem:
            if code_of(problem) == "LimitExceeded":
                raise RoleIsFull() from None
            raise spoken(problem, once=False) from None

    def forget(self, role_arn: str) -> None:
        """Delete it; that there is none is fine."""
        try:
            self.clients.iam(role_arn).delete_role_policy(
                RoleName=_name(role_arn), PolicyName=NAME
            )
        except AWS_TROUBLE as problem:
            if code_of(problem) != "NoSuchEntity":
                raise spoken(problem, once=False) from None


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]
