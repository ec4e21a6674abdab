"""What a workload or a person shows to get a token of ours: a token of theirs, or a certificate."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105  a type's name


class NoIdentity(Exception):
    """Nothing here says who we are."""


@dataclass(frozen=True)
class Proof:
    """An identity token and its RFC 8693 type; the token stays out of `repr`."""

    token: str = field(repr=False)
    token_type: str = JWT_TYPE

    def form(self) -> dict[str, str]:
        """The token request that it goes in (RFC 8693 section 2.1)."""
        return {
            "grant_type": EXCHANGE,
            "subject_token": self.token,
            "subject_token_type": self.token_type,
        }


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, shown over mutual TLS: `show` loads both into a context.

    It raises NoIdentity when there is none to load.
    """

    show: Callable[[ssl.SSLContext], None] = field(repr=False)

    def form(self) -> dict[str, str]:
        """The token request of a client that its connection tells (RFC 8705 section 2)."""
        return {"grant_type": "client_credentials"}


@dataclass(frozen=True)
class ProofSource:
    """A way to get a proof. `name` tells sources apart and holds no secret; `get` raises
    NoIdentity, Refusal or Unreachable."""

    name: str
    get: Callable[[], Proof | Certificate]
