"""The SPIFFE Workload API: the bundles of trust domains, as an agent on this machine tells them.

It needs the extra `valetkey[spiffe]`. A thread of its own asks every few seconds, so that no
request and no handshake ever waits for the agent; what was told last holds for a day while it is
away.
"""

from __future__ import annotations

import atexit
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding

from valetkey.core.errors import NotReady
from valetkey.core.spiffe import SCHEME
from valetkey.identity.authorities import Authorities, read_authorities
from valetkey.identity.jose import BadToken
from valetkey.identity.jwks import KEEP
from valetkey.identity.public_keys import members_of

if TYPE_CHECKING:
    from spiffe import JwtBundle, X509Bundle

EVERY: Final = 5.0
PATIENCE: Final = 4.0
FIRST_ANSWER: Final = 2.0
Told = TypeVar("Told")


@dataclass(frozen=True)
class _Last(Generic[Told]):
    """What was told last by trust domain (`spiffe://NAME`), and when that was."""

    by_domain: Mapping[str, Told]
    at: float


class WorkloadApi:
    """One agent's bundles. Safe for threads; it asks only once it was started."""

    def __init__(self, socket: str, *, every: float = EVERY) -> None:
        """`socket` is written `unix:/...`. Raises ValueError without the extra, or for another."""
        if find_spec("spiffe") is None:
            raise ValueError("the Workload API needs the extra valetkey[spiffe]")
        if not socket.startswith("unix:/"):
            raise ValueError("the Workload API is at a socket written unix:/...")
        self._socket = socket
        self._every = every
        self._x509: _Last[Authorities] = _Last({}, float("-inf"))
        self._jwt: _Last[bytes] = _Last({}, float("-inf"))
        self._first, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="workload-api", daemon=True)

    def start(self) -> None:
        """Begin to ask, and wait a moment for the first answer; nothing happens a second time."""
        if self._thread.ident is None:
            self._thread.start()
            atexit.register(self.close)
        self._first.wait(FIRST_ANSWER)

    def close(self) -> None:
        """Stop asking."""
        self._over.set()
        self._thread.join(PATIENCE)
        atexit.unregister(self.close)

    def authorities(self, issuer: str) -> Authorities:
        """Those of a trust domain; raises NotReady when the agent has told of none."""
        found = self._of(self._x509, issuer)
        if not found:
            raise NotReady("the Workload API tells of no such trust domain", retry_after=5)
        return found

    def keys(self, issuer: str) -> bytes:
        """Its keys for JWT-SVIDs, as a JWK Set; raises OSError when the agent has told of none."""
        found = self._of(self._jwt, issuer)
        if found is None:
            raise OSError("the Workload API tells of no such trust domain")
        return found

    def problem(self, issuer: str) -> str | None:
        """Why the authorities of a trust domain may be out of date, or are missing."""
        if time.monotonic() - self._x509.at > 3 * (self._every + PATIENCE):
            return "the Workload API does not answer"
        return None if issuer in self._x509.by_domain else "it tells of no such trust domain"

    def _of(self, last: _Last[Told], issuer: str) -> Told | None:
        fresh = time.monotonic() - last.at <= KEEP
        return last.by_domain.get(issuer) if fresh else None

    def _watch(self) -> None:
        while not self._over.is_set():
            self._look()
            self._first.set()
            self._over.wait(self._every)

    def _look(self) -> None:
        """Ask once for both; each keeps what it has when it is not answered."""
        from spiffe import WorkloadApiClient
        from spiffe.errors import PySpiffeError

        try:
            with WorkloadApiClient(self._socket, default_timeout=PATIENCE) as agent:
                self._x509 = _asked(agent.fetch_x509_bundles, _authorities, self._x509)
                self._jwt = _asked(agent.fetch_jwt_bundles, _key_set, self._jwt)
        except PySpiffeError:
            return


@dataclass(frozen=True)
class ToldBundle:
    """The authorities of one trust domain, as the agent tells them."""

    agent: WorkloadApi
    issuer: str

    def authorities(self) -> Authorities:
        """Those to trust now; raises NotReady when there are none."""
        return self.agent.authorities(self.issuer)

    def problem(self) -> str | None:
        """Why they may be out of date, or are missing; None when all is well."""
        return self.agent.problem(self.issuer)


def _asked(ask: Callable[[], Any], read: Callable[[Any], Told], last: _Last[Told]) -> _Last[Told]:
    """What is told now, by trust domain; the last when nothing is.

    A bundle that cannot be used is left out, so that nobody of its domain gets in.
    """
    from spiffe.errors import PySpiffeError

    found: dict[str, Told] = {}
    try:
        for bundle in ask().bundles:
            with suppress(BadToken):
                found[SCHEME + bundle.trust_domain.name] = read(bundle)
    except PySpiffeError:
        return last
    return _Last(found, time.monotonic())


def _authorities(bundle: X509Bundle) -> Authorities:
    """Held to what a bundle in a file is, in an order that stays the same."""
    ders = sorted(one.public_bytes(Encoding.DER) for one in bundle.x509_authorities)
    return read_authorities(b"".join(map(_pem, ders)))


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


def _key_set(bundle: JwtBundle) -> bytes:
    """As a JWK Set of keys for JWT-SVIDs, which is all that this bundle holds."""
    keys = [
        {**members_of(key), "kid": kid, "use": "jwt-svid"}
        for kid, key in bundle.jwt_authorities.items()
    ]
    return json.dumps({"keys": keys}).encode()
