"""`authorization_details` (RFC 9396) of our one type, each object one ask; read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from valetkey.core.ask import ttl_of
from valetkey.core.detail import Detail
from valetkey.core.errors import BrokerError
from valetkey.core.scope import Scope
from valetkey.identity.jose import BadToken, strict_object
from valetkey.identity.oauth import malformed

TYPE: Final = "urn:valetkey:authorization:credential"
NAME: Final = "authorization_details"
MOST: Final = 10
LONGEST: Final = 4096
_MEMBERS: Final = frozenset({"type", "task", "scope", "ttl"})
_TASK: Final = re.compile(r"task_[0-9a-v]{1,59}")


def asked_details(form: Mapping[str, str]) -> tuple[Detail, ...]:
    """The details that a token request asks for; none where it asks for none.

    Raises InvalidRequest told as `invalid_authorization_details` for anything but a strict JSON
    array of one to ten objects of our type, with `task`, `scope` and a whole `ttl` and no more.
    """
    if NAME not in form:
        return ()
    try:
        if len(form[NAME]) > LONGEST:
            raise BadToken("too long for a token")
        found = strict_object(b'{"array":%s}' % form[NAME].encode())
        if found.keys() != {"array"}:
            raise BadToken("not one array")
        return read_details(found["array"])
    except (BadToken, UnicodeEncodeError):
        wrong = "authorization_details is an array of 1 to 10 objects of type, task, scope, ttl"
        raise malformed(wrong, "invalid_authorization_details") from None


def read_details(listed: object, *, granted: bool = False) -> tuple[Detail, ...]:
    """The details in parsed JSON; what was `granted` may name its grant. Raises BadToken."""
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST:
        raise BadToken("the authorization details are not an array of 1 to 10")
    return tuple(_detail(one, granted=granted) for one in listed)


def written_details(details: Sequence[Detail]) -> list[dict[str, object]]:
    """The same as JSON, scopes in their one spelling."""
    return [
        {
            "type": TYPE,
            "task": detail.task_id,
            "scope": str(detail.scope),
            "ttl": int(detail.ttl.total_seconds()),
            **({} if detail.grant_id is None else {"grant": detail.grant_id}),
        }
        for detail in details
    ]


def echoed(details: Sequence[Detail]) -> dict[str, object]:
    """The member of a token answer that says what was granted; nothing for a whole token."""
    return {NAME: written_details(details)} if details else {}


def _detail(one: object, *, granted: bool) -> Detail:
    if not isinstance(one, dict) or one.get("type") != TYPE:
        raise BadToken("an authorization detail is not of our type")
    grant = one.get("grant") if granted else None
    if one.keys() - ({"grant"} if isinstance(grant, str) else set()) != _MEMBERS:
        raise BadToken("an authorization detail has other members")
    task, scope, ttl = one["task"], one["scope"], one["ttl"]
    if not isinstance(task, str) or not _TASK.fullmatch(task):
        raise BadToken("an authorization detail names no task")
    try:
        return Detail(task, Scope.parse(scope), ttl_of(ttl), grant)
    except BrokerError:
        raise BadToken("an authorization detail has no such scope or time") from None


