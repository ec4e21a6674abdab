"""Unauthenticated knocking: counted always; one fact per issuer, source and minute: bounded."""

from __future__ import annotations

import ipaddress
import threading
import time
from datetime import timedelta

from valetkey.core.errors import BrokerError, StoreUnavailable, UseDpopNonce
from valetkey.core.facts import Fact, FactKind
from valetkey.ports import Store
from valetkey.web.metrics import Metrics

MOST_SOURCES = 1000
MINUTE = 60.0


class Knocks:
    """Remembers who knocked this minute, only to spare the database; the store decides.

    More than MOST_SOURCES sources in one minute become the one source "others".
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._since = time.monotonic()

    def knocked(self, host: str, error: BrokerError, issuer: str = "unknown") -> None:
        """Count a request that nobody answered for; never raises when the store is away.

        `issuer` is the name of a registered issuer, if one was found responsible.
        """
        if isinstance(error, UseDpopNonce):
            return  # a proof that was good but for what we had not told
        self._metrics.knocks.labels(error.code).inc()
        source = self._new_source(f"{issuer} {source_of(host)}")
        if source is None:
            return
        try:
            self._record(source, error)
        except StoreUnavailable:
            with self._lock:
                self._seen.discard(source)

    def _new_source(self, source: str) -> str | None:
        """The source to be recorded, or None when this replica has seen it this minute."""
        with self._lock:
            if time.monotonic() - self._since >= MINUTE:
                self._seen.clear()
                self._since = time.monotonic()
            if len(self._seen) >= MOST_SOURCES and source not in self._seen:
                source = "unknown others"
            if source in self._seen:
                return None
            self._seen.add(source)
        return source

    def _record(self, source: str, error: BrokerError) -> None:
        now = self._store.now()
        minute = now.strftime("%Y-%m-%dT%H:%M")
        if not self._store.first_use("knock", f"{source} {minute}", now + timedelta(minutes=2)):
            return
        issuer, _, address = source.partition(" ")
        body = {"issuer": issuer, "source": address, "minute": minute}
        with self._store.transaction() as tx:
            tx.record(Fact(FactKind.KNOCKED, by="unknown", outcome=error.code, body=body))


def source_of(host: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one: one household, one source."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
