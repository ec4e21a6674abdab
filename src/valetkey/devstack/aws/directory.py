"""What moto's IAM holds, read as policies: whose they are, and since when they have effect.

Touches moto's models, which are not its public interface; moto is pinned, and the tests of the
emulator fail when something here is no longer so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.iam.models import iam_backends

from valetkey.devstack.aws.clock import Knobs

ACCOUNT = "123456789012"
"""The one account of the emulator: moto's default, and AWS's own example."""

INLINE_LIMIT = 10_240
"""Characters of all inline policies of one role together, whitespace not counted."""


@dataclass(frozen=True)
class Role:
    """A role as moto has it now."""

    name: str
    arn: str
    role_id: str
    trust: str
    longest: int
    """Seconds: MaxSessionDuration."""


@dataclass(frozen=True)
class Held:
    """What a role or user holds: policy documents as text, tags, a permissions boundary."""

    policies: tuple[str, ...]
    tags: Mapping[str, str]
    boundary: str | None = None


@dataclass
class Directory:
    """Roles and users; `note` after each change, so that changes can have effect later."""

    knobs: Knobs
    _past: deque[tuple[float, dict[str, Held]]] = field(default_factory=lambda: deque(maxlen=512))

    def note(self) -> None:
        """Remember what every role and user holds from now on."""
        backend = _backend()
        everyone = [*backend.roles.values(), *backend.users.values()]
        held = {one.arn: _held(one) for one in everyone}
        self._past.append((time.monotonic() + self.knobs.lag, held))

    def held(self, arn: str) -> Held:
        """Return what the role or user `arn` holds as far as it has taken effect."""
        now = time.monotonic()
        found = next((held for since, held in tuple(self._past)[::-1] if since <= now), {})
        return found.get(arn, Held((), {}))

    def role(self, name: str) -> Role | None:
        """Return the role called `name`, as it is now."""
        found = next((one for one in _backend().roles.values() if one.name == name), None)
        if found is None:
            return None
        longest = int(found.max_session_duration or 3600)
        return Role(name, found.arn, found.id, found.assume_role_policy_document, longest)

    def user_id(self, name: str) -> str | None:
        """Return the unique id of the user called `name`."""
        user = _backend().users.get(name)
        return None if user is None else str(user.id)

    def inline_size(self, name: str, policy: str, document: str) -> int:
        """Return the size of the role's inline policies once `policy` is `document`."""
        role = next((one for one in _backend().roles.values() if one.name == name), None)
        texts = dict(role.policies) if role is not None else {}
        return sum(len("".join(text.split())) for text in (texts | {policy: document}).values())


def key_owner(access_key: str) -> tuple[str, str] | None:
    """Return (user name, secret) of an access key made through the IAM API."""
    for user in _backend().users.values():
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                return str(user.name), str(key.secret_access_key)
    return None


def _held(one: Any) -> Held:
    texts = [*one.policies.values(), *map(_policy_text, one.managed_policies.values())]
    boundary = getattr(one, "permissions_boundary_arn", None)
    if boundary is not None:
        boundary = _policy_text(_backend().managed_policies[boundary])
    return Held(tuple(texts), {tag["Key"]: tag["Value"] for tag in one.tags or ()}, boundary)


def _policy_text(managed: Any) -> str:
    """Return the document of a managed policy's default version."""
    default = managed.default_version_id
    return str(next(one.document for one in managed.versions if one.version_id == default))


def _backend() -> Any:
    return iam_backends[ACCOUNT]["aws"]
