"""A cluster's API server: whether a service account's token is still good, and its public keys.

TokenReview (authentication.k8s.io/v1) is what notices that a pod or account was deleted. It is
asked about each token, with our audience; when it cannot be asked, nobody of that cluster gets in.
No redirect is followed, answers are bounded, and nothing of a token or answer reaches an error.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3

from valetkey.core.errors import NotReady, Unauthenticated
from valetkey.core.trust import FETCHABLE, claim_at
from valetkey.identity.jose import BadToken, strict_object
from valetkey.identity.oidc import VerifiedProof
from valetkey.identity.platforms.kubernetes import CLAIM

LARGEST: Final = 64 * 1024
CONNECTIONS: Final = 8
RETRY: Final = 2.0
_REVIEW: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD: Final = "authentication.kubernetes.io/pod-uid"


@dataclass(frozen=True)
class Access:
    """How we reach an API server: its base URL, its CA, our own token's file, seconds to wait."""

    url: str
    token_file: Path
    ca_file: Path | None = None
    within: float = 5.0

    def __post_init__(self) -> None:
        """Raise ValueError for an address that is neither https nor http on loopback."""
        if not self.url.startswith(FETCHABLE):
            raise ValueError("a cluster's url must be https, or http on loopback")


class ApiServer:
    """One cluster's API server. Safe for threads: at most eight questions at once."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._base = access.url.rstrip("/")
        self._before = urlsplit(self._base).path
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=CONNECTIONS,
            block=True,
            cert_reqs="CERT_REQUIRED",
            ca_certs=None if access.ca_file is None else str(access.ca_file),
            timeout=urllib3.Timeout(connect=access.within, read=access.within),
            retries=False,
        ).connection_from_url(self._base)

    def has(self, url: str) -> bool:
        """Whether an address is this API server's."""
        return url.startswith(f"{self._base}/")

    def fetch(self, url: str) -> bytes:
        """GET a document of this API server, such as its keys; raises OSError."""
        if not self.has(url):
            raise OSError("the address is not this API server's")
        return self._send("GET", url.removeprefix(self._base), None)

    def vouch(self, proof: VerifiedProof) -> None:
        """Have the cluster say that this token is good now, for us, and whose it is.

        Raises Unauthenticated when it says otherwise, NotReady when it cannot be asked.
        """
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": proof.token, "audiences": [proof.record.audience]},
        }
        try:
            raw = self._send("POST", _REVIEW, json.dumps(asked).encode())
            status = strict_object(raw).get("status")
        except (OSError, BadToken):
            raise NotReady("the cluster cannot be asked about tokens", retry_after=RETRY) from None
        if not isinstance(status, dict) or not _vouched(status, proof):
            raise Unauthenticated("the cluster does not vouch for this token now")

    def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        """The body of a 2xx answer; raises OSError for all else."""
        try:
            answer = self._pool.urlopen(
                method,
                self._before + path,
                body=body,
                headers=self._headers(),
                redirect=False,
                preload_content=False,
                pool_timeout=math.ceil(self._access.within),
            )
            try:
                return _bounded(answer, time.monotonic() + 2 * self._access.within)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, ValueError) as failed:
            raise OSError(f"the API server did not answer: {type(failed).__name__}") from None

    def _headers(self) -> dict[str, str]:
        """Ours, with our own token as it is in its file now, for platforms renew it."""
        ours = self._access.token_file.read_text(encoding="ascii").strip()
        return {
            "Authorization": f"Bearer {ours}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }


def _bounded(answer: urllib3.BaseHTTPResponse, give_up: float) -> bytes:
    if answer.status not in (200, 201):
        raise OSError("the API server refused")
    read = b""
    while part := answer.read1(8192):
        read += part
        if len(read) > LARGEST or time.monotonic() > give_up:
            raise OSError("the answer is too large or too slow")
    return read


def _vouched(status: Mapping[str, object], proof: VerifiedProof) -> bool:
    """Authenticated, for our audience, and of the same account and pod as the claims say."""
    audiences, user = status.get("audiences"), status.get("user")
    if status.get("authenticated") is not True or status.get("error"):
        return False
    if not isinstance(audiences, list) or proof.record.audience not in audiences:
        return False
    if not isinstance(user, dict) or user.get("username") != proof.subject:
        return False
    extra = user.get("extra")
    pods = extra.get(_POD) if isinstance(extra, dict) else None
    return user.get("uid") == claim_at(proof.claims, f"{CLAIM}/serviceaccount/uid") and pods in (
        None,
        [claim_at(proof.claims, f"{CLAIM}/pod/uid")],
    )
