"""A broker that also takes a token of ours alone: `python -m bench.doors.bearer CONFIG`.

Nobody can be served so: the product takes no token without the proof of its key (ADR 0011). It
is here to tell what that proof costs, within one process and one run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from valetkey.bootstrap import load_settings, serving
from valetkey.core.peer import NOBODY, Peer
from valetkey.core.principal import Caller
from valetkey.identity.authenticator import Authenticator


def main() -> None:
    """Serve until SIGTERM; a request without a DPoP header is let in by its token."""
    with_proof = Authenticator.authenticate

    def either(
        self: Authenticator,
        authorization: Sequence[str],
        dpop: Sequence[str],
        method: str,
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller:
        if dpop:
            return with_proof(self, authorization, dpop, method, url, peer)
        token = authorization[0].partition(" ")[2]
        return self._tokens.verify(token, self._behind.now())

    Authenticator.authenticate = either  # type: ignore[method-assign]
    serving.serve(load_settings(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
