"""Tokens that we signed ourselves, once their signature has verified."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from valetkey.core.principal import Caller


@dataclass(frozen=True)
class OurToken:
    """A live token of ours: an access token has a `holder`, one that is a credential has none.

    `token_id` is its `jti`, which for a credential is the mark of its lease.
    """

    token_id: str
    audience: str
    expires_at: datetime
    holder: Caller | None = None
