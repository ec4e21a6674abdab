"""Sessions of an AWS role, narrowed to what was asked for and fenced at the end of its time.

STS gives no session of less than 900 s and cannot end one. So each carries a session policy that
denies everything from its fence on, and the tag by which its role can be told to refuse it before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from valetkey.core.catalogue import Catalogue, CataloguedScope
from valetkey.core.cut import SKEW
from valetkey.core.errors import (
    BrokerError,
    MinterRefused,
    NotAsked,
    NotRenewable,
    OutcomeUnknown,
)
from valetkey.core.ids import LeaseId, Mark, short_digest
from valetkey.core.lease import Handle, Proof
from valetkey.core.secret import Secret
from valetkey.core.session_policies import document
from valetkey.minters.aws_clients import AwsClients, keys_of
from valetkey.minters.aws_cut import NAME, Cutter
from valetkey.minters.aws_errors import AWS_TROUBLE, spoken
from valetkey.minters.aws_policy import TAG, refuse_foreign, tag_value
from valetkey.ports import Deadline, Ending, Found, Lapse, LivesUntil, Minted, Presence, Renewed

SHORTEST = timedelta(seconds=900)
ASKED_AGAIN = 20.0
"""Seconds for which the answer to "are you well?" is kept."""


class AwsSts:
    """The minter for roles of AWS."""

    def __init__(
        self,
        clients: AwsClients,
        cutter: Cutter,
        catalogue: Callable[[], Catalogue],
        now: Callable[[], datetime],
    ) -> None:
        self._clients, self._cutter = clients, cutter
        self._catalogue, self._now = catalogue, now
        self._installation = cutter.installation
        self._asked: tuple[float, str | None] | None = None
        self._lock = threading.Lock()

    def handle_for(self, lease_id: LeaseId, wanted: CataloguedScope) -> Handle:
        """The session's name, and what is needed to have it refused without any catalogue."""
        target = wanted.target
        said = "\n".join([str(wanted.scope), target.role_arn, *wanted.definition.session_policy])
        mark = Mark.of(self._installation, short_digest(said), lease_id)
        where = {
            "place": target.role_arn,
            "region": target.region,
            "slots": str(target.slots),
            "witness_bucket": target.witness.get("bucket", ""),
            "witness_key": target.witness.get("key", ""),
            "endpoint_url": str(target.address.get("endpoint_url", "")),
        }
        return Handle(NAME, target.name, str(mark), {k: v for k, v in where.items() if v})

    def end_class(self, wanted: CataloguedScope) -> Proof:
        """A session only expires; refused at our word it is not ended."""
        return Proof.EXPIRED

    def mint(
        self, handle: Handle, wanted: CataloguedScope, ttl: timedelta, deadline: Deadline
    ) -> Minted:
        """Assume the role once, for 900 s or the TTL, fenced at the TTL.

        What AWS does not take is refused, never widened. Raises MinterRefused, MinterUnavailable
        or OutcomeUnknown; a call that was sent and not answered is never sent again.
        """
        mark = Mark.read(handle.name)
        if mark is None:
            raise MinterRefused("the handle is not ours")
        if self._cutter.pausing(handle):
            raise NotAsked("everything made at the role now is refused", retry_after=10)
        fence = (self._now() + ttl).replace(microsecond=0)
        lasts = max(SHORTEST, ttl)
        asked = self._asked_for(handle, wanted, (mark, fence, lasts))
        sts = self._clients.sts(handle.where["region"])
        if deadline.left() <= 0:
            raise OutcomeUnknown("the attempt took too long and was given up", retry_after=5)
        try:
            answer = sts.assume_role(**asked)
        except AWS_TROUBLE as problem:
            raise spoken(problem, once=True) from None
        session = f":assumed-role/{handle.where['place'].rsplit('/', 1)[-1]}/{handle.name}"
        if not str(answer["AssumedRoleUser"]["Arn"]).endswith(session):
            raise OutcomeUnknown("AWS gave another session than asked", retry_after=5)
        until: datetime = answer["Credentials"]["Expiration"]
        return Minted(
            secret=_secret(answer["Credentials"], wanted, fence),
            lifetime=max(until - self._now(), lasts),
            back_ref=str(answer["AssumedRoleUser"]["AssumedRoleId"]),
            slack=SKEW,
            fenced_at=fence,
        )

    def renews(self, wanted: CataloguedScope) -> bool:
        """A session ends when it was said to: whoever needs more time asks for another."""
        return False

    def renew(self, handle: Handle, back_ref: str, ttl: timedelta, deadline: Deadline) -> Renewed:
        """Raises NotRenewable."""
        raise NotRenewable()

    def end(self, handle: Handle, backend_expires_at: datetime) -> Ending:
        """Have it refused until its own end; past its fence that is waited for alone."""
        if backend_expires_at <= self._now():
            return LivesUntil(backend_expires_at)
        return self._cutter.deny(handle, backend_expires_at)

    def probe(self, handle: Handle) -> Presence:
        """Nobody can look for a session."""
        return Presence.UNKNOWN

    def targets(self) -> list[str]:
        """None: AWS lists no sessions, so that nothing can be compared."""
        return []

    def found(self, target: str) -> Iterator[Found]:
        """AWS lists no sessions."""
        return iter(())

    def lives_until(self, handle: Handle, back_ref: str | None) -> datetime | None:
        """AWS tells a session's end once, when it gives it."""
        return None

    def skew(self, target: str) -> timedelta:
        """How far STS's clock is from ours, by the date of its answer."""
        return abs(self._who_am_i(target) - self._now())

    def claim(self) -> list[str]:
        """None: the first list of refusals at a role carries our installation, and claims it."""
        return []

    def problem(self) -> str | None:
        """Our identity, its clock, and every role with its list; asked again after a while."""
        with self._lock:
            asked = self._asked
            if asked is None or time.monotonic() - asked[0] > ASKED_AGAIN:
                asked = self._asked = time.monotonic(), self._problem()
            return asked[1]

    def longest_life(self, ttl: timedelta) -> timedelta:
        """900 s at least, and what its clock may differ."""
        return max(SHORTEST, ttl) + SKEW

    def reassert(self, *, renew: bool = True) -> Sequence[Lapse]:
        """See that every role refuses what it was told to."""
        return self._cutter.look(renew=renew)

    def _asked_for(
        self, handle: Handle, wanted: CataloguedScope, how: tuple[Mark, datetime, timedelta]
    ) -> dict[str, Any]:
        """The whole call; raises MinterRefused when its policy cannot be made."""
        mark, fence, lasts = how
        try:
            policy = document(wanted.definition, dict(wanted.scope.parameters), fence)
        except ValueError as problem:
            raise MinterRefused(str(problem)) from None
        tags = {TAG: tag_value(mark.lease_id), "valetkey-installation": mark.installation}
        external = self._clients.identity.external_id()
        return {
            "RoleArn": handle.where["place"],
            "RoleSessionName": handle.name,
            "SourceIdentity": handle.name,
            "DurationSeconds": int(lasts.total_seconds()),
            "Policy": policy,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            "TransitiveTagKeys": list(tags),
            **({"ExternalId": external} if external else {}),
        }

    def _problem(self) -> str | None:
        targets = [x for x in self._catalogue().targets.values() if x.minter == NAME]
        try:
            for target in targets:
                if self.skew(target.name) > SKEW:
                    return "the clock of STS is too far from the database's"
                self._cutter.roles.look(target.role_arn)
                refuse_foreign(self._cutter.roles.read(target.role_arn), self._installation)
        except BrokerError as trouble:
            return trouble.detail
        return None

    def _who_am_i(self, target: str) -> datetime:
        """The date of STS's answer, which nobody can be denied."""
        region = self._catalogue().targets[target].region
        try:
            answer = self._clients.sts(region).get_caller_identity()
        except AWS_TROUBLE as problem:
            raise spoken(problem, once=False) from None
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        with suppress(KeyError, ValueError):
            return parsedate_to_datetime(headers["date"]).astimezone(UTC)
        return self._now()


def _secret(answer: Any, wanted: CataloguedScope, fence: datetime) -> Secret:
    """What the asker is told: the three parts under their usual names, and where to use them."""
    keys, target = keys_of(answer), wanted.target
    parts = {
        "access_key_id": keys.key,
        "secret_access_key": keys.secret,
        "session_token": keys.token or "",
    }
    public = {"type": "aws", "region": target.region, "expiration": fence.isoformat()}
    return Secret(parts, {**public, **target.address})
