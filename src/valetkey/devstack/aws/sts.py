"""AssumeRole and GetCallerIdentity, answered by ourselves; the rest of STS is refused.

From the STS API reference and the IAM user guide ("Passing session tags", "Monitor and control
actions taken with assumed roles", "Role chaining"). The codes and limits are AWS's; what the
packed size of a session is there cannot be known here, so it is estimated.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from xml.sax.saxutils import escape

from valetkey.devstack.aws import documents, sts_wish
from valetkey.devstack.aws.asked import Request, Values
from valetkey.devstack.aws.callers import Caller, Callers, Session, new_key
from valetkey.devstack.aws.directory import ACCOUNT
from valetkey.devstack.aws.documents import Document, decide
from valetkey.devstack.aws.sts_wish import POLICY_LIMIT, Wish, denied
from valetkey.devstack.aws.wire import Refused, not_judged

_XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


def answer(
    form: Mapping[str, str], caller: Caller, callers: Callers, moment: Mapping[str, Values]
) -> bytes:
    """Answer an STS call of `caller` as XML; `moment` has the context keys of the moment.

    Raises Refused, or Unsupported.
    """
    action = form.get("Action", "")
    if action == "GetCallerIdentity":
        inner = _tag("Arn", caller.arn) + _tag("UserId", caller.user_id) + _tag("Account", ACCOUNT)
        return _page(action, inner)
    if action != "AssumeRole":
        raise not_judged(f"sts:{action}")
    wish = sts_wish.read(form, caller, callers.directory)
    _authorise(wish, caller, moment)
    session = _session(wish, callers.knobs.now())
    callers.add(session)
    return _page(action, _described(session))


# --- whether it may ------------------------------------------------------------------------


def _authorise(wish: Wish, caller: Caller, moment: Mapping[str, Values]) -> None:
    """Ask the trust policy, and the caller's own, for each action that AssumeRole needs.

    A trust policy must allow explicitly. In the same account naming a user is enough; naming
    the account, or a role, leaves it to the caller's own policies as well.
    """
    trust = documents.read(wish.role.trust, trust=True)
    for action, more in _needed(wish):
        request = Request(action, wish.role.arn, {**moment, **caller.keys, **more})
        if not _trusted(trust, caller, request):
            raise denied(caller, action, wish.role.arn)
        if caller.is_root:
            raise Refused(403, "AccessDenied", "Roles may not be assumed by root accounts.")
        own = decide(caller.layers, request)
        named = caller.user is not None and _names(trust, caller.arn, request)
        if not own.allowed and not (named and not own.explicit):
            raise denied(caller, action, wish.role.arn, own)


def _needed(wish: Wish) -> list[tuple[str, dict[str, Values]]]:
    """Return the actions, each with the context keys that AWS lists for it."""
    tags: dict[str, Values] = {}
    if wish.asked_tags:
        tags = {f"aws:RequestTag/{key}": value for key, value in wish.asked_tags.items()}
        tags["aws:TagKeys"] = tuple(wish.asked_tags)
        tags["sts:TransitiveTagKeys"] = tuple(sorted(wish.lasting))
    source: dict[str, Values] = {}
    if wish.source_identity is not None:
        source = {"sts:SourceIdentity": wish.source_identity}
    assume: dict[str, Values] = {"sts:RoleSessionName": wish.name, **tags, **source}
    if wish.external_id is not None:
        assume["sts:ExternalId"] = wish.external_id
    needed = [("sts:AssumeRole", assume)]
    if wish.asked_tags or wish.lasting:
        needed.append(("sts:TagSession", tags))
    if wish.sets_source:
        needed.append(("sts:SetSourceIdentity", source))
    return needed


def _trusted(trust: Document, caller: Caller, request: Request) -> bool:
    meant = [one for one in trust.statements if _is_meant(one.principals, caller)]
    applying = [one for one in meant if one.applies(request)]
    return bool(applying) and all(one.allows for one in applying)


def _is_meant(principals: tuple[str, ...], caller: Caller) -> bool:
    account = {"*", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root"}
    return bool(set(principals) & (account | {caller.arn, caller.principal_arn}))


def _names(trust: Document, arn: str, request: Request) -> bool:
    return any(arn in one.principals and one.applies(request) for one in trust.statements)


# --- what is answered ----------------------------------------------------------------------


def _session(wish: Wish, now: datetime) -> Session:
    issued = now.astimezone(UTC).replace(microsecond=0)
    return Session(
        role=wish.role,
        name=wish.name,
        access_key=new_key("ASIA"),
        secret=secrets.token_urlsafe(30),
        token=secrets.token_urlsafe(240),
        issued_at=issued,
        expires_at=issued + timedelta(seconds=wish.seconds),
        policy=wish.policy,
        tags=wish.tags,
        lasting=wish.lasting,
        source_identity=wish.source_identity,
    )


def _described(session: Session) -> str:
    credentials = (
        _tag("AccessKeyId", session.access_key)
        + _tag("SecretAccessKey", session.secret)
        + _tag("SessionToken", session.token)
        + _tag("Expiration", session.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    )
    user = _tag("AssumedRoleId", session.user_id) + _tag("Arn", session.arn)
    told = f"<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"
    told += _tag("PackedPolicySize", str(_packed(session)))
    if session.source_identity is not None:
        told += _tag("SourceIdentity", session.source_identity)
    return told


def _packed(session: Session) -> int:
    """Estimate, in percent, what AWS would say: how it packs is not published."""
    tags = sum(len(key) + len(value) for key, value in session.tags.items())
    return min(100, -(-(len(session.policy or "") + tags) * 100 // (2 * POLICY_LIMIT)))


def _page(action: str, inner: str) -> bytes:
    result = f"<{action}Result>{inner}</{action}Result>"
    meta = f"<ResponseMetadata><RequestId>{uuid4()}</RequestId></ResponseMetadata>"
    return f'<{action}Response xmlns="{_XMLNS}">{result}{meta}</{action}Response>'.encode()


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"
