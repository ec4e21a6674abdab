"""Where a workload's proof of identity comes from: never from argv, always from its platform.

In this order: the file named by `VALETKEY_IDENTITY_TOKEN_FILE` (read again at each use, because
platforms renew it), else the CI platform's request variables `ACTIONS_ID_TOKEN_REQUEST_URL` and
`ACTIONS_ID_TOKEN_REQUEST_TOKEN` (a fresh token at each use), else standard input when asked for
by `--identity-token-file -` (read once).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from valetkey.agentside.wire import Wire

TOKEN_FILE = "VALETKEY_IDENTITY_TOKEN_FILE"  # noqa: S105  a variable's name
CI_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
CI_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105  a variable's name
MAX_TOKEN = 8192
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105  a type's name


class NoIdentity(Exception):
    """Nothing here says who we are."""


@dataclass(frozen=True)
class Proof:
    """An identity token and its RFC 8693 type; the token stays out of `repr`."""

    token: str = field(repr=False)
    token_type: str = JWT_TYPE


@dataclass(frozen=True)
class ProofSource:
    """A way to get a proof. `name` tells sources apart and holds no secret; `get` raises
    NoIdentity, Refusal or Unreachable."""

    name: str
    get: Callable[[], Proof]


def from_file(path: Path) -> ProofSource:
    """The token that the platform keeps fresh in `path`."""

    def get() -> Proof:
        try:
            return Proof(_checked(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            raise NoIdentity(f"no identity token can be read from {path}") from None
        except NoIdentity:
            raise NoIdentity(f"what is in {path} is not an identity token") from None

    return ProofSource(f"file {path.absolute()}", get)


def from_stream(stream: TextIO) -> ProofSource:
    """The token on `stream`, read once and kept in memory."""
    kept: list[str] = []

    def get() -> Proof:
        if not kept:
            kept.append(_checked(stream.read(MAX_TOKEN + 2)))
        return Proof(kept[0])

    return ProofSource("standard input", get)


def from_ci(url: str, request_token: str, audience: str) -> ProofSource:
    """A fresh token of the CI job for `audience`, as GitHub Actions gives it."""
    joined = f"{url}{'&' if '?' in url else '?'}audience={quote(audience, safe='')}"

    def get() -> Proof:
        wire = Wire(timeout=15)
        try:
            answer = wire.send("GET", joined, {"Authorization": f"Bearer {request_token}"})
        finally:
            wire.close()
        return Proof(_checked(str(answer.body.get("value", ""))))

    whose = hashlib.sha256(request_token.encode()).hexdigest()[:16]
    return ProofSource(f"ci {url} {whose}", get)


def find_source(
    environment: Mapping[str, str], audience: str, *, stdin: TextIO | None = None
) -> ProofSource | None:
    """The workload's proof source by the order above; None when there is none.

    `stdin` is given when the caller asked for standard input.
    """
    if path := environment.get(TOKEN_FILE):
        return from_file(Path(path))
    if (url := environment.get(CI_URL)) and (token := environment.get(CI_TOKEN)):
        return from_ci(url, token, audience)
    return None if stdin is None else from_stream(stdin)


def _checked(text: str) -> str:
    token = text.strip()
    if not token or len(token) > MAX_TOKEN or token.count(".") != 2 or not token.isascii():
        raise NoIdentity("what was read is not an identity token")
    return token
