"""Where a SPIFFE workload's proof comes from: its certificate in files, or the Workload API.

The files are those named by `VALETKEY_X509_SVID_FILE` (the chain, its own certificate first) and
`VALETKEY_X509_KEY_FILE`, PEM, read again at each use. The Workload API is at the socket that
`SPIFFE_ENDPOINT_SOCKET` names, and needs the extra `valetkey[spiffe]`; `VALETKEY_SVID` says which
of its two proofs is wanted: `jwt` (left out, this one) or `x509`.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from valetkey.agentside.proofs import Certificate, NoIdentity, Proof, ProofSource

if TYPE_CHECKING:
    from spiffe import WorkloadApiClient

CHAIN_FILE = "VALETKEY_X509_SVID_FILE"
KEY_FILE = "VALETKEY_X509_KEY_FILE"
SOCKET = "SPIFFE_ENDPOINT_SOCKET"
WHICH = "VALETKEY_SVID"
PATIENCE = 10.0
"""Seconds in which an agent on this machine answers."""

Given = TypeVar("Given")


def from_certificate(chain: Path, key: Path) -> ProofSource:
    """The certificate that the platform keeps fresh in these files."""

    def show(context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(chain, key)
        except (OSError, ValueError):
            raise NoIdentity(f"no certificate with its key can be read from {chain}") from None

    return ProofSource(f"certificate {chain.absolute()}", lambda: Certificate(show))


def from_workload_api(socket: str, audience: str, which: str) -> ProofSource:
    """What the agent at a socket gives: a JWT-SVID for `audience`, or a certificate (`x509`)."""
    if which not in ("jwt", "x509"):
        raise NoIdentity(f"{WHICH} is jwt or x509")
    if find_spec("spiffe") is None:
        raise NoIdentity("the Workload API needs the extra valetkey[spiffe]")
    get = _token(socket, audience) if which == "jwt" else _certificate(socket)
    return ProofSource(f"{which}-svid {socket}", get)


def find_certificate(environment: Mapping[str, str]) -> ProofSource | None:
    """The certificate in files that the environment names; None when it names none."""
    chain, key = environment.get(CHAIN_FILE), environment.get(KEY_FILE)
    if not chain and not key:
        return None
    if not (chain and key):
        raise NoIdentity(f"{CHAIN_FILE} and {KEY_FILE} are given together")
    return from_certificate(Path(chain), Path(key))


def find_workload_api(environment: Mapping[str, str], audience: str) -> ProofSource | None:
    """The agent that the environment names, where we can speak with it or are told to."""
    socket, which = environment.get(SOCKET), environment.get(WHICH)
    if not socket or (which is None and find_spec("spiffe") is None):
        return None
    return from_workload_api(socket, audience, which or "jwt")


def _token(socket: str, audience: str) -> Callable[[], Proof]:
    return lambda: Proof(
        _asked(socket, lambda agent: str(agent.fetch_jwt_svid(audience={audience}).token))
    )


def _certificate(socket: str) -> Callable[[], Certificate]:
    def get() -> Certificate:
        svid: Any = _asked(socket, lambda agent: agent.fetch_x509_svid())
        return Certificate(lambda context: _load(context, svid))

    return get


def _load(context: ssl.SSLContext, svid: Any) -> None:
    """Through private files that are gone at once: `ssl` takes a key from nowhere else."""
    from cryptography.hazmat.primitives.serialization import Encoding

    with tempfile.TemporaryDirectory(prefix="valetkey-") as folder:  # of mode 0700
        chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        svid.save(chain, key, Encoding.PEM)
        context.load_cert_chain(chain, key)


def _asked(socket: str, ask: Callable[[WorkloadApiClient], Given]) -> Given:
    from spiffe import WorkloadApiClient
    from spiffe.errors import PySpiffeError

    try:
        with WorkloadApiClient(socket, default_timeout=PATIENCE) as agent:
            return ask(agent)
    except PySpiffeError:
        raise NoIdentity(f"the Workload API at {socket} gives no identity") from None
