"""TLS of our own: clients are asked for a certificate where a trust domain is registered for it.

They are asked and not made to: whoever shows none is served as before. What OpenSSL checks here is
only that the client holds the key of a certificate that some registered authority signed; whose it
is and whether it is good is for `identity` to say, for each token.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

import structlog
import uvicorn

from valetkey.core.errors import NotReady
from valetkey.identity.authorities import Authorities, TrustBundle, as_der

log = structlog.get_logger()
Usual = Callable[[], ssl.SSLContext]
Factory = Callable[[uvicorn.Config, Usual], ssl.SSLContext]


def asking(bundles: Sequence[TrustBundle]) -> Factory | None:
    """How uvicorn's context is made so that clients are asked; None where nobody is to be."""
    if not bundles:
        return None
    return lambda config, usual: Asking(bundles, usual).context()


class Asking:
    """A context whose authorities are those of the bundles at each handshake.

    No tickets are given: a session that was resumed with one brings no chain of certificates. Nor
    is a connection negotiated again, for its client would stay who it was at first.
    """

    def __init__(self, bundles: Sequence[TrustBundle], usual: Usual) -> None:
        self._bundles, self._usual = bundles, usual
        self._known: Authorities = ()
        self._now = self._made(())

    def context(self) -> ssl.SSLContext:
        """The context to listen with."""
        base = self._made(())
        base.sni_callback = self._take
        return base

    def _take(self, line: ssl.SSLObject, name: str | None, base: ssl.SSLContext) -> None:
        """Give one handshake the authorities of now; called with or without a server's name."""
        known = tuple(one for bundle in self._bundles for one in _of(bundle))
        if known != self._known:
            try:
                self._now, self._known = self._made(known), known
            except (OSError, ValueError) as broken:  # our own certificate, perhaps; keep what was
                log.error("tls.not_renewed", because=type(broken).__name__)
        line.context = self._now

    def _made(self, authorities: Authorities) -> ssl.SSLContext:
        made = self._usual()
        made.verify_mode = ssl.CERT_OPTIONAL
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        made.num_tickets = 0
        if authorities:
            made.load_verify_locations(cadata=as_der(authorities))
        return made


def _of(bundle: TrustBundle) -> Authorities:
    """Its authorities; none while it cannot be had, so that its clients are not let in."""
    try:
        return bundle.authorities()
    except NotReady:
        return ()
