"""Who calls: the root, a user with long-lived keys, or a session made by AssumeRole.

A caller carries everything a verdict needs: the documents of each kind of policy that apply to
it, and the context keys that come from it ("AWS global condition context keys", properties of
the principal and of the role session).
"""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from valetkey.devstack.aws import documents
from valetkey.devstack.aws.asked import Values
from valetkey.devstack.aws.clock import Knobs
from valetkey.devstack.aws.directory import ACCOUNT, Directory, Role, key_owner
from valetkey.devstack.aws.documents import Document
from valetkey.devstack.aws.wire import Refused

ROOT = "root"


@dataclass(frozen=True)
class Key:
    """A long-lived access key, known from the start: whose it is, and its secret."""

    user: str
    access_key: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Session:
    """A role session: what AssumeRole was asked, and what it answered."""

    role: Role
    name: str
    access_key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    policy: str | None
    tags: Mapping[str, str]
    lasting: frozenset[str]
    """Names of the tags that survive role chaining (transitive)."""
    source_identity: str | None

    @property
    def arn(self) -> str:
        """The ARN of the session itself."""
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role.name}/{self.name}"

    @property
    def user_id(self) -> str:
        """`AssumedRoleId`, which is also the context key aws:userid."""
        return f"{self.role.role_id}:{self.name}"


@dataclass(frozen=True)
class Caller:
    """An authenticated principal, as a verdict sees it."""

    arn: str
    principal_arn: str
    user_id: str
    secret: str = field(repr=False)
    layers: Mapping[str, Sequence[Document]]
    keys: Mapping[str, Values]
    user: str | None = None
    session: Session | None = None

    @property
    def is_root(self) -> bool:
        """The account itself, whom no policy binds."""
        return self.user == ROOT


@dataclass
class Callers:
    """Finds who calls; keeps the sessions. Nothing here survives the process."""

    directory: Directory
    knobs: Knobs
    keys: Mapping[str, Key]
    sessions: dict[str, Session] = field(default_factory=dict)

    def find(self, access_key: str, token: str | None, service: str) -> Caller:
        """Return who holds `access_key` with that session token.

        Raises Refused with the code that `service` (s3, iam, sts) answers.
        """
        session = self.sessions.get(access_key)
        if session is not None:
            self._check(session, token, service)
            return self._of_session(session)
        key = self.keys.get(access_key)
        owned = (key.user, key.secret) if key else key_owner(access_key)
        if owned is None or token is not None:
            raise _unknown(service)
        return self._of_user(*owned)

    def add(self, session: Session) -> None:
        """Keep `session`; those that ended a day ago and more are dropped."""
        now = self.knobs.now()
        for key, old in list(self.sessions.items()):
            if (now - old.expires_at).days >= 1:
                self.sessions.pop(key, None)
        self.sessions[session.access_key] = session

    def _check(self, session: Session, token: str | None, service: str) -> None:
        if token is None:
            raise _unknown(service)
        if not hmac.compare_digest(token.encode(), session.token.encode()):
            if service == "s3":
                raise Refused(400, "InvalidToken", "The provided token is malformed or invalid.")
            raise _unknown(service)
        if self.knobs.now() >= session.expires_at:
            if service == "s3":
                raise Refused(400, "ExpiredToken", "The provided token has expired.")
            raise Refused(
                403, "ExpiredToken", "The security token included in the request is expired"
            )

    def _of_session(self, session: Session) -> Caller:
        held = self.directory.held(session.role.arn)
        layers = {"identity-based policy": [documents.read(text) for text in held.policies]}
        if held.boundary is not None:
            layers["permissions boundary"] = [documents.read(held.boundary)]
        if session.policy is not None:
            layers["session policy"] = [documents.read(session.policy)]
        keys: dict[str, Values] = {
            "aws:PrincipalType": "AssumedRole",
            "aws:PrincipalArn": session.role.arn,
            "aws:userid": session.user_id,
            "aws:TokenIssueTime": _second(session.issued_at),
            **_tags(held.tags, session.tags),
        }
        if session.source_identity is not None:
            keys["aws:SourceIdentity"] = session.source_identity
        return Caller(
            arn=session.arn,
            principal_arn=session.role.arn,
            user_id=session.user_id,
            secret=session.secret,
            layers=layers,
            keys=keys,
            session=session,
        )

    def _of_user(self, name: str, secret: str) -> Caller:
        if name == ROOT:
            arn = f"arn:aws:iam::{ACCOUNT}:root"
            return Caller(arn, arn, ACCOUNT, secret, {}, {"aws:PrincipalArn": arn}, ROOT)
        arn = f"arn:aws:iam::{ACCOUNT}:user/{name}"
        held, user_id = self.directory.held(arn), self.directory.user_id(name) or "AIDAUNKNOWN"
        keys: dict[str, Values] = {
            "aws:PrincipalType": "User",
            "aws:PrincipalArn": arn,
            "aws:userid": user_id,
            "aws:username": name,
            **_tags(held.tags),
        }
        layers = {"identity-based policy": [documents.read(text) for text in held.policies]}
        return Caller(arn, arn, user_id, secret, layers, keys, name)


def _tags(*levels: Mapping[str, str]) -> dict[str, Values]:
    """Session tags take the place of the role's tags of the same name, whatever the case."""
    merged: dict[str, Values] = {}
    for level in levels:
        fresh = {key.lower() for key in level}
        merged = {
            key: value
            for key, value in merged.items()
            if key.removeprefix("aws:PrincipalTag/").lower() not in fresh
        }
        merged |= {f"aws:PrincipalTag/{key}": value for key, value in level.items()}
    return merged


def _second(at: datetime) -> str:
    """Write an instant as AWS does in context keys: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unknown(service: str) -> Refused:
    if service == "s3":
        return Refused(
            403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist."
        )
    return Refused(
        403, "InvalidClientTokenId", "The security token included in the request is invalid."
    )


def new_key(prefix: str) -> str:
    """Return a fresh access key id: `prefix` (AKIA, ASIA) and 16 characters."""
    return prefix + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))
