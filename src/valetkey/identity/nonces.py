"""Nonces of ours for DPoP proofs (RFC 9449 section 8): made of the time, kept nowhere.

Every replica makes the same nonce of the same window, so that any of them takes what another gave.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from valetkey.core.errors import UseDpopNonce

WINDOW: Final = timedelta(minutes=5)

Mac = Callable[[str], str]


class Nonces:
    """Good in the window that they were made in and the next: for five to ten minutes."""

    def __init__(self, mac: Mac, older: Sequence[Mac] = ()) -> None:
        """`mac` is a keyed hash that all replicas share; `older` are those it replaced."""
        self._macs = (mac, *older)

    def current(self, now: datetime) -> str:
        """The nonce to give out now."""
        return next(self._good(now))

    def check(self, claims: Mapping[str, object], now: datetime) -> None:
        """Raise UseDpopNonce, with one to use, unless the proof's claims hold a good nonce."""
        said = claims.get("nonce")
        shown = said.encode() if isinstance(said, str) else b""
        if not any(hmac.compare_digest(shown, good.encode()) for good in self._good(now)):
            raise UseDpopNonce(nonce=self.current(now))

    def _good(self, now: datetime) -> Iterator[str]:
        window = int(now.timestamp() // WINDOW.total_seconds())
        for mac in self._macs:
            for number in (window, window - 1):
                yield mac(f"dpop-nonce {number}")[:32]
