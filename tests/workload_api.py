"""A SPIFFE agent as tests want it: the Workload API on a socket, telling what it was given."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey
from spiffe._proto import workload_pb2 as messages
from spiffe._proto import workload_pb2_grpc as rpc

from tests.certificates import Holder, authority
from valetkey.testing.issuer import compact, public_jwk


@dataclass
class Agent(rpc.SpiffeWorkloadAPIServicer):
    """One workload's view of its trust domain: its ID, what it is given, and the bundles.

    `keys` are the domain's keys for JWT-SVIDs by id. A workload without `written` is unknown.
    """

    domain: str
    written: str | None = None
    root: Holder = field(default_factory=authority)
    keys: dict[str, ECKey] = field(default_factory=lambda: {"k1": ECKey.generate_key("P-256")})
    svid: Holder | None = None
    asked: list[str] = field(default_factory=list)

    def FetchX509SVID(self, request: object, context: grpc.ServicerContext) -> Iterator[object]:  # noqa: N802
        """The workload's certificates and key."""
        self._admit(context)
        assert self.written is not None
        svid = self.svid or self.root.workload(self.written)
        key = svid.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        one = messages.X509SVID(
            spiffe_id=self.written,
            x509_svid=b"".join(svid.peer),
            x509_svid_key=key,
            bundle=self._der(),
        )
        yield messages.X509SVIDResponse(svids=[one])

    def FetchX509Bundles(self, request: object, context: grpc.ServicerContext) -> Iterator[object]:  # noqa: N802
        """The authorities of the trust domain."""
        self._admit(context)
        yield messages.X509BundlesResponse(bundles={self.domain: self._der()})

    def FetchJWTBundles(self, request: object, context: grpc.ServicerContext) -> Iterator[object]:  # noqa: N802
        """The keys of the trust domain, without a `use`, as SPIRE writes them here."""
        self._admit(context)
        keys = [{**public_jwk(key), "kid": kid} for kid, key in self.keys.items()]
        raw = json.dumps({"keys": keys}).encode()
        yield messages.JWTBundlesResponse(bundles={self.domain: raw})

    def FetchJWTSVID(  # noqa: N802
        self, request: messages.JWTSVIDRequest, context: grpc.ServicerContext
    ) -> object:
        """A JWT-SVID for the audience that was asked for."""
        self._admit(context)
        (kid, key), *_ = self.keys.items()
        self.asked.extend(request.audience)
        now = int(time.time())
        said = {"sub": self.written, "aud": list(request.audience), "iat": now, "exp": now + 300}
        said["jti"] = secrets.token_hex(8)
        token = compact({"alg": "ES256", "kid": kid, "typ": "JWT"}, said, key)
        svid = messages.JWTSVID(spiffe_id=self.written, svid=token)
        return messages.JWTSVIDResponse(svids=[svid])

    def _admit(self, context: grpc.ServicerContext) -> None:
        """Refuse callers without the header that the specification demands, and unknown ones."""
        if ("workload.spiffe.io", "true") not in [tuple(x) for x in context.invocation_metadata()]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        if self.written is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")

    def _der(self) -> bytes:
        return self.root.certificate.public_bytes(Encoding.DER)


@contextmanager
def served(agent: Agent, folder: Path) -> Iterator[str]:
    """The agent on a socket in this folder, written as SPIFFE_ENDPOINT_SOCKET is."""
    server = grpc.server(ThreadPoolExecutor(2))
    rpc.add_SpiffeWorkloadAPIServicer_to_server(agent, server)
    where = f"unix:{folder / 'agent.sock'}"
    server.add_insecure_port(where)
    server.start()
    try:
        yield where
    finally:
        server.stop(0).wait(5)
