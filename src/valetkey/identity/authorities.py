"""The X.509 authorities of a trust domain: who may sign the certificates of its workloads.

They come from a file, PEM or a SPIFFE bundle (a JWK Set whose keys of use `x509-svid` hold their
certificate in `x5c`), or from the Workload API (`workload_api`). They are never taken from what a
client sends.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from valetkey.core.errors import NotReady
from valetkey.identity.jose import BadToken, strict_object
from valetkey.identity.jwks import KEEP, MOST_KEYS, read_file

Authorities = tuple[x509.Certificate, ...]
UNREADABLE: Final = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What `cryptography` raises for a certificate that cannot be read, or whose parts cannot."""
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


class TrustBundle(Protocol):
    """Where a trust domain's authorities are had from. Asking never waits for the network."""

    def authorities(self) -> Authorities:
        """Those to trust now; raises NotReady when there are none."""

    def problem(self) -> str | None:
        """Why they may be out of date, or are missing; None when all is well."""


def read_authorities(raw: bytes) -> Authorities:
    """The certificates of a bundle; raises BadToken for anything else, and for none."""
    try:
        found = tuple(x509.load_pem_x509_certificates(raw)) if _PEM in raw else _of_set(raw)
        for one in found:
            if not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise BadToken("a certificate of the bundle is no authority")
    except (*UNREADABLE, x509.ExtensionNotFound, TypeError):
        raise BadToken("a certificate of the bundle cannot be read") from None
    if not 0 < len(found) <= MOST_KEYS:
        raise BadToken("the bundle holds no authority, or more than 100")
    return found


def _of_set(raw: bytes) -> Authorities:
    """Those of a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4.2): one each in `x5c`."""
    listed = strict_object(raw).get("keys")
    if not isinstance(listed, list):
        raise BadToken("neither PEM certificates nor a SPIFFE bundle")
    ours = [jwk for jwk in listed if isinstance(jwk, dict) and jwk.get("use") == "x509-svid"]
    chains = [jwk.get("x5c") for jwk in ours]
    if not all(isinstance(chain, list) and len(chain) == 1 for chain in chains):
        raise BadToken("an x509-svid key of the bundle does not hold one certificate")
    raws = [base64.b64decode(str(chain[0]), validate=True) for chain in chains if chain]
    return tuple(x509.load_der_x509_certificate(der) for der in raws)


class BundleFile:
    """A bundle in a file, read again when it changes. Safe for threads.

    A file that is away or broken leaves what was read last in force, for a day.
    """

    def __init__(self, path: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._seen: tuple[int, ...] = ()
        self._found: Authorities = ()
        self._good_at = float("-inf")
        self._problem: str | None = None
        self._one_reads = threading.Lock()

    def authorities(self) -> Authorities:
        """Those of the file now; raises NotReady when none could be read for a day."""
        with self._one_reads:
            self._look()
            if self._monotonic() - self._good_at > KEEP:
                raise NotReady("the trust domain's bundle cannot be read", retry_after=5)
            return self._found

    def problem(self) -> str | None:
        """What is wrong with the file now."""
        with self._one_reads:
            self._look()
            return self._problem

    def _look(self) -> None:
        try:
            stat = Path(self._path).stat()
        except OSError as away:
            self._seen, self._problem = (), f"the bundle cannot be read: {type(away).__name__}"
            return
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._seen, self._problem = seen, self._read()
        if self._problem is None:
            self._good_at = self._monotonic()

    def _read(self) -> str | None:
        """Read it anew; what is wrong with it."""
        try:
            self._found = read_authorities(read_file(self._path))
        except OSError as away:
            return f"the bundle cannot be read: {type(away).__name__}"
        except BadToken as bad:
            return str(bad)
        return None


def as_der(authorities: Authorities) -> bytes:
    """All of them, DER, one after the other, as `ssl` takes them."""
    return b"".join(one.public_bytes(Encoding.DER) for one in authorities)
