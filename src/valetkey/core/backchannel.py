"""Asking in the back channel (CIBA Core 1.0, poll mode): an ask, and the id to poll it by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from valetkey.core.detail import Detail
from valetkey.core.principal import Caller

CIBA: Final = "urn:openid:params:grant-type:ciba"
INTERVAL: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(seconds=900)
LONGEST_MESSAGE: Final = 100


@dataclass(frozen=True)
class BackchannelAsk:
    """What an agent asks for in the back channel.

    `message` is shown to people as the untrusted reason, `within` is how long they have at most,
    and `hint` whom the client believes that it works for.
    """

    caller: Caller
    detail: Detail
    message: str
    within: timedelta
    hint: str | None = None


@dataclass(frozen=True)
class Begun:
    """It waits, or was allowed at once: the id to poll with, and for how long it is good."""

    auth_req_id: str
    expires_in: timedelta
    waits: bool
