"""SPIFFE IDs, read strictly: scheme, trust domain, path segments, nothing else.

After the SPIFFE-ID specification, section 2: no user, port, query or fragment, no percent-encoding,
no empty, `.` or `..` segment, no slash at the end, at most 2048 bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SCHEME: Final = "spiffe://"
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class SpiffeId:
    """The name of a workload: its trust domain and at least one path segment."""

    trust_domain: str
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, written: str) -> SpiffeId:
        """Read one; raises ValueError for anything that is not a workload's SPIFFE ID."""
        domain, *segments = written.removeprefix(SCHEME).split("/")
        if not written.startswith(SCHEME) or len(written) > 2048:
            raise ValueError("not a SPIFFE ID")
        if not _DOMAIN.fullmatch(domain) or not segments:
            raise ValueError("a SPIFFE ID has a trust domain and a path")
        if any(not _SEGMENT.fullmatch(one) or one in (".", "..") for one in segments):
            raise ValueError("a segment of the SPIFFE ID is not acceptable")
        return cls(domain, tuple(segments))

    @property
    def authority(self) -> str:
        """The trust domain as it is registered: `spiffe://` and its name."""
        return SCHEME + self.trust_domain

    def __str__(self) -> str:
        return "/".join((self.authority, *self.segments))


def is_trust_domain(written: str) -> bool:
    """Whether this is `spiffe://` and a trust domain's name."""
    return written.startswith(SCHEME) and bool(_DOMAIN.fullmatch(written.removeprefix(SCHEME)))


def authority_of(unverified_subject: object) -> str | None:
    """The trust domain that a subject names, as it is registered; None unless it is a SPIFFE ID."""
    if not isinstance(unverified_subject, str):
        return None
    try:
        return SpiffeId.parse(unverified_subject).authority
    except ValueError:
        return None
