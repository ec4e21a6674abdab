"""Names of things: sortable ids, and the mark that every object we make outside carries."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import NewType

LeaseId = NewType("LeaseId", str)

_MARK = re.compile(
    r"vk-(?P<installation>[0-9a-v]{6}e[0-9]{1,4})-(?P<digest>[0-9a-v]{12})-(?P<lease>[0-9a-v]{26})"
)


def encode_id(kind: str, raw: bytes) -> str:
    """Write 16 bytes as `<kind>_<26 lower-case base32hex characters>`."""
    return f"{kind}_{base32(raw)}"


def base32(raw: bytes) -> str:
    """Lower-case base32hex without padding (RFC 4648 section 7): sorts as its bytes do."""
    return base64.b32hexencode(raw).decode().rstrip("=").lower()


def short_digest(text: str) -> str:
    """Twelve base32hex characters (60 bits) of SHA-256, enough to tell catalogued scopes apart."""
    return base32(hashlib.sha256(text.encode()).digest())[:12]


def lease_id_of(name: str) -> LeaseId:
    """The lease id for an outside object whose name is no lease's of ours: always the same."""
    return LeaseId(encode_id("lease", hashlib.sha256(name.encode()).digest()[:16]))


@dataclass(frozen=True)
class Mark:
    """What every object made outside carries: installation and epoch, scope digest, lease id."""

    installation: str
    digest: str
    lease: str

    def __str__(self) -> str:
        return f"vk-{self.installation}-{self.digest}-{self.lease}"

    @property
    def lease_id(self) -> LeaseId:
        """The id of the lease that this object belongs to."""
        return LeaseId(f"lease_{self.lease}")

    @classmethod
    def of(cls, installation: str, digest: str, lease_id: LeaseId) -> Mark:
        """The mark for one lease; raises ValueError when a part is not fit for a role name."""
        mark = cls(installation, digest, lease_id.removeprefix("lease_"))
        if cls.read(str(mark)) != mark:
            raise ValueError("not a mark")
        return mark

    @classmethod
    def read(cls, name: str) -> Mark | None:
        """Read a mark from an outside object's name; None when it is not one of ours."""
        found = _MARK.fullmatch(name)
        if found is None:
            return None
        return cls(found["installation"], found["digest"], found["lease"])
