"""Where a workload's proof of identity comes from: never from argv, always from its platform.

In this order: the file named by `VALETKEY_IDENTITY_TOKEN_FILE` (read again at each use, because
platforms renew it), else the certificate in files (`agentside.spiffe`), else the CI platform's
request variables `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN` (a fresh token
at each use), else standard input when asked for by `--identity-token-file -` (read once), else the
Workload API of SPIFFE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from valetkey.agentside.proofs import ID_TOKEN_TYPE as ID_TOKEN_TYPE
from valetkey.agentside.proofs import JWT_TYPE as JWT_TYPE
from valetkey.agentside.proofs import NoIdentity as NoIdentity
from valetkey.agentside.proofs import Proof as Proof
from valetkey.agentside.proofs import ProofSource as ProofSource
from valetkey.agentside.spiffe import find_certificate, find_workload_api
from valetkey.agentside.wire import Wire

TOKEN_FILE = "VALETKEY_IDENTITY_TOKEN_FILE"  # noqa: S105  a variable's name
CI_URL = "ACTIONS_ID_TOKEN_REQUEST_URL"
CI_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105  a variable's name
MAX_TOKEN = 8192


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

    `stdin` is given when the caller asked for standard input. Raises NoIdentity for half a pair.
    """
    if path := environment.get(TOKEN_FILE):
        return from_file(Path(path))
    if (certificate := find_certificate(environment)) is not None:
        return certificate
    if (url := environment.get(CI_URL)) and (token := environment.get(CI_TOKEN)):
        return from_ci(url, token, audience)
    return find_workload_api(environment, audience) if stdin is None else from_stream(stdin)


def _checked(text: str) -> str:
    token = text.strip()
    if not token or len(token) > MAX_TOKEN or token.count(".") != 2 or not token.isascii():
        raise NoIdentity("what was read is not an identity token")
    return token
