"""What bootstrap tells the web room: addresses, sizes and the trust rules, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from valetkey.core.trust import TrustRule

RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True)
class Doors:
    """Settings of the HTTP side.

    `external_url` is the only address that proofs are held against; Host and Forwarded headers
    never are. `threads` serve endpoints, of which `slow_calls` at most are in calls that may wait
    for a back end; the rest stays free for kill, revoke and health. `body_limit` is in bytes,
    `body_within` and `room_within` in seconds; `large_limit` is for files of rules, of which
    `large_at_once` bodies are read at the same time. `trust_rules` are by name. `login_issuer` and
    `login_client_id` tell people's clients where to log in.
    """

    external_url: str
    trust_rules: Mapping[str, TrustRule] = field(default_factory=dict)
    login_issuer: str = ""
    login_client_id: str = ""
    threads: int = 64
    slow_calls: int = 48
    body_limit: int = 64 * 1024
    large_limit: int = 1024 * 1024
    large_at_once: int = 4
    body_within: float = 10.0
    room_within: float = 30.0

    def __post_init__(self) -> None:
        """Raise ValueError when slow calls could take every thread."""
        if not 0 < self.slow_calls < self.threads:
            raise ValueError("slow_calls must leave threads free")

    def url_of(self, path: str) -> str:
        """The external address of a path of ours."""
        return self.external_url.rstrip("/") + path
