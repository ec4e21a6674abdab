"""The Authenticator as the web room needs it; `identity` satisfies it structurally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from valetkey.core.backchannel import BackchannelAsk
from valetkey.core.detail import Detail
from valetkey.core.peer import NOBODY, Peer
from valetkey.core.principal import Caller
from valetkey.core.tokens import OurToken
from valetkey.core.trust import ResourceServer


class Authenticator(Protocol):
    """Turns proofs into callers. Every method raises a BrokerError when it will not."""

    def authenticate(
        self,
        authorization: Sequence[str],
        dpop: Sequence[str],
        method: str,
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller:
        """Who makes this `/v1` call; the headers as they came, one entry for each.

        `peer` are the certificates of the client where TLS ends here.
        """

    def exchange(
        self, form: Mapping[str, str], dpop: Sequence[str], url: str, peer: Peer = NOBODY
    ) -> Mapping[str, object]:
        """Answer `POST /oauth2/token`.

        A refusal carries its RFC 6749 code in `extra["oauth_error"]`, and perhaps the name of
        the registered issuer in `extra["issuer"]`.
        """

    def introspect(self, form: Mapping[str, str]) -> Mapping[str, object]:
        """Answer `POST /oauth2/introspect` (RFC 7662) to a resource server that proves itself."""

    def revoker(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller | ResourceServer:
        """Who asks for a revocation (RFC 7009) at `url`."""

    def backchannel_ask(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> BackchannelAsk:
        """What an agent asks for in the back channel at `url`, and that agent."""

    def asker(
        self,
        form: Mapping[str, str],
        authorization: Sequence[str],
        dpop: Sequence[str],
        url: str,
        peer: Peer = NOBODY,
    ) -> Caller:
        """The agent that polls at `url`."""

    def token_for(self, caller: Caller, granted: Detail) -> Mapping[str, object]:
        """A token answer for what was granted and for nothing else."""

    def our_token(self, token: str) -> OurToken | None:
        """What a live token of ours is; None for any other."""

    def jwks(self) -> Mapping[str, object]:
        """Our public keys (RFC 7517)."""

    def metadata(self) -> Mapping[str, object]:
        """Authorization server metadata (RFC 8414)."""

    def resource_metadata(self) -> Mapping[str, object]:
        """Protected resource metadata of `/v1` (RFC 9728)."""
