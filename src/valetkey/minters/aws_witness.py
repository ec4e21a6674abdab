"""Witnesses: a session of our own that tries whether what was written at a role holds.

We do not keep the secrets that we hand out, so we cannot try those. A witness is made beside each
generation, tagged so that this very generation refuses it, allowed one harmless read for a minute,
and never leaves the process. The row of the generation is committed before it is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from valetkey.core.catalogue import ScopeDefinition
from valetkey.core.errors import BrokerError
from valetkey.core.lease import Handle
from valetkey.core.session_policies import document
from valetkey.minters.aws_clients import AwsClients, keys_of
from valetkey.minters.aws_errors import AWS_TROUBLE, code_of
from valetkey.minters.aws_policy import TAG, witness_value

TRIES = 24
PAUSE = 0.4
LIFE = timedelta(minutes=1)
REFUSED = frozenset({"AccessDenied", "403", "Forbidden"})


@dataclass(frozen=True)
class Witness:
    """A session that was let in, and the read that it was let in for."""

    s3: Any
    bucket: str
    key: str

    def is_let_in(self) -> bool | None:
        """True or False as the target answers; None when it says neither."""
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=self.key)
        except AWS_TROUBLE as problem:
            code = code_of(problem)
            return False if code in REFUSED else None
        answer["Body"].close()
        return True

    def is_refused(self, wait: Callable[[float], None]) -> bool:
        """Try until it is refused, for about ten seconds."""
        for _ in range(TRIES):
            if self.is_let_in() is False:
                return True
            wait(PAUSE)
        return False


@dataclass(frozen=True)
class Witnesses:
    """Calls witnesses at the roles whose targets name what a witness may read."""

    clients: AwsClients
    now: Callable[[], datetime]

    def called(self, handle: Handle, generation: int) -> Witness | None:
        """A witness that is let in now; None when none is named, or it cannot be had."""
        where = handle.where
        if not where.get("witness_bucket"):
            return None
        try:
            witness = self._made(handle, generation)
        except (BrokerError, *AWS_TROUBLE):
            return None
        return witness if witness.is_let_in() else None

    def _made(self, handle: Handle, generation: int) -> Witness:
        where, value = handle.where, witness_value(generation)
        external = self.clients.identity.external_id()
        answer = self.clients.sts(where["region"]).assume_role(
            RoleArn=where["place"],
            RoleSessionName=f"vk-{value}",
            SourceIdentity=f"vk-{value}",
            DurationSeconds=900,
            Policy=_policy(where, self.now() + LIFE),
            Tags=[{"Key": TAG, "Value": value}],
            TransitiveTagKeys=[TAG],
            **({"ExternalId": external} if external else {}),
        )
        keys = keys_of(answer["Credentials"])
        endpoint = where.get("endpoint_url") or None
        s3 = self.clients.with_keys("s3", where["region"], keys, endpoint)
        return Witness(s3, where["witness_bucket"], where["witness_key"])


def _policy(where: Any, fence: datetime) -> str:
    partition = where["place"].split(":")[1]
    resource = f"arn:{partition}:s3:::{where['witness_bucket']}/{where['witness_key']}"
    read = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [resource]}
    alone = ScopeDefinition("witness", False, LIFE, session_policy=(json.dumps(read),))
    return document(alone, {}, fence)
