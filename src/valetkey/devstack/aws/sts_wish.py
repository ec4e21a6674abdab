"""What AssumeRole was asked, read and held to AWS's limits.

From the STS API reference: AssumeRole, its parameters and errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from valetkey.devstack.aws import documents
from valetkey.devstack.aws.asked import Malformed
from valetkey.devstack.aws.callers import Caller
from valetkey.devstack.aws.directory import Directory, Role
from valetkey.devstack.aws.documents import Verdict
from valetkey.devstack.aws.wire import Refused, not_judged

SHORTEST, LONGEST, CHAINED = 900, 43_200, 3600
"""Seconds: the least, the most, and both the default and the most of a chained session."""

POLICY_LIMIT = 2048
TAG_LIMIT = 50
_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True)
class Wish:
    """What AssumeRole was asked, with the tags that chaining carries over."""

    role: Role
    name: str
    seconds: int
    policy: str | None
    external_id: str | None
    asked_tags: Mapping[str, str]
    tags: Mapping[str, str]
    lasting: frozenset[str]
    source_identity: str | None
    sets_source: bool


def read(form: Mapping[str, str], caller: Caller, directory: Directory) -> Wish:
    """Read an AssumeRole call of `caller`. Raises Refused with AWS's codes, or Unsupported."""
    if unknown := [name for name in form if name.startswith(("PolicyArns", "SerialNumber"))]:
        raise not_judged(f"AssumeRole with {unknown[0]}")
    arn, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
    _check_name("roleSessionName", name)
    role = directory.role(arn.rpartition("/")[2])
    if role is None or role.arn != arn:
        raise denied(caller, "sts:AssumeRole", arn)
    before = caller.session
    asked, lasting = _tags(form)
    carried = {key: before.tags[key] for key in before.lasting} if before else {}
    if set(carried) & set(asked):
        raise _invalid("One of the specified transitive tag keys can't be set again.")
    inherited = before.source_identity if before else None
    source = form.get("SourceIdentity")
    if source is not None:
        _check_name("sourceIdentity", source)
        if source.lower().startswith("aws:") or (inherited and inherited != source):
            raise _invalid("The SourceIdentity cannot be set so.")
    return Wish(
        role=role,
        name=name,
        seconds=_seconds(form, role, chained=before is not None),
        policy=_policy(form),
        external_id=form.get("ExternalId"),
        asked_tags=asked,
        tags={**asked, **carried},
        lasting=lasting | frozenset(carried),
        source_identity=source or inherited,
        sets_source=source is not None,
    )


def _seconds(form: Mapping[str, str], role: Role, *, chained: bool) -> int:
    given = form.get("DurationSeconds")
    seconds = int(given) if given else CHAINED
    for bad, word, bound in (
        (seconds < SHORTEST, "greater", SHORTEST),
        (seconds > LONGEST, "less", LONGEST),
    ):
        if bad:
            raise _constraint(
                "durationSeconds", f"Member must have value {word} than or equal to {bound}"
            )
    if chained and seconds > CHAINED:
        raise _invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed "
            "by role chaining"
        )
    if given and seconds > role.longest:
        raise _invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return seconds


def _policy(form: Mapping[str, str]) -> str | None:
    policy = form.get("Policy")
    if policy is None:
        return None
    if not 1 <= len(policy) <= POLICY_LIMIT:
        raise _constraint("policy", f"Member must have length less than or equal to {POLICY_LIMIT}")
    try:
        documents.read(policy)
    except Malformed as error:
        raise Refused(400, "MalformedPolicyDocument", str(error)) from error
    return policy


def _tags(form: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str]]:
    numbers = sorted(
        int(found[1]) for name in form if (found := re.fullmatch(r"Tags\.member\.(\d+)\.Key", name))
    )
    keys = [form[f"Tags.member.{number}.Key"] for number in numbers]
    values = [form.get(f"Tags.member.{number}.Value", "") for number in numbers]
    if len(keys) > TAG_LIMIT:
        raise _constraint("tags", f"Member must have length less than or equal to {TAG_LIMIT}")
    if len({key.lower() for key in keys}) != len(keys):
        raise _invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    for key, value in zip(keys, values, strict=True):
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise _constraint("tags", "a tag has a key or value that is too long or reserved")
    lasting = frozenset(form[name] for name in form if name.startswith("TransitiveTagKeys.member."))
    if lasting - set(keys):
        raise _invalid("The specified transitive tag key must be included in the requested tags.")
    return dict(zip(keys, values, strict=True)), lasting


def _check_name(what: str, text: str) -> None:
    if not _NAME.fullmatch(text):
        raise _constraint(what, "Member must satisfy regular expression pattern: [\\w+=,.@-]*")


def denied(caller: Caller, action: str, arn: str, verdict: Verdict | None = None) -> Refused:
    """Return the refusal of `action` on `arn`, with the verdict's reason if there is one."""
    why = f" {verdict.because}" if verdict and verdict.because else ""
    told = f"User: {caller.arn} is not authorized to perform: {action} on resource: {arn}{why}"
    return Refused(403, "AccessDenied", told)


def _invalid(message: str) -> Refused:
    return Refused(400, "ValidationError", message)


def _constraint(what: str, rule: str) -> Refused:
    return _invalid(
        f"1 validation error detected: Value at '{what}' failed to satisfy constraint: {rule}"
    )
