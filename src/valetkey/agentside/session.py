"""Our side of `POST /oauth2/token`: the platform's proof in, a short token bound to our key out."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.files import read_json, write_private_json
from valetkey.agentside.proofs import Certificate, Proof, ProofSource
from valetkey.agentside.wire import Answer, Refusal, Wire, trusting
from valetkey.core.sealing import seal_to

SPARE = 20.0
"""Seconds before its end at which a token is renewed."""


@dataclass(frozen=True)
class AccessToken:
    """Our token and when it ends (epoch seconds by this machine's clock)."""

    value: str = field(repr=False)
    until: float

    def lasts(self) -> bool:
        """Whether it may still be used for a while."""
        return self.until - SPARE > time.time()


class Session:
    """Gets, keeps and renews the access token, and signs each call with it.

    `keep_in` names a private file that later processes of the same key and source may use; the
    token in it is worth nothing without the key.
    """

    def __init__(
        self,
        base_url: str,
        key: DpopKey,
        source: ProofSource,
        keep_in: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """`ca_file` holds authorities for the broker's certificate besides the system's."""
        self.base_url = base_url.rstrip("/")
        self.wire = Wire(context=trusting(ca_file) if ca_file else None)
        self._ca_file = ca_file
        self._key = key
        self._source = source
        self._keep_in = keep_in
        self._token = self._kept()
        self._nonce: str | None = None
        self._renewing = threading.Lock()

    def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One signed call to `path`, perhaps with a body; a token that ended is renewed once.

        Raises Refusal, Unreachable or NoIdentity.
        """
        body = {"json": json, "form": form}
        try:
            return self._send(method, path, headers or {}, body)
        except Refusal as no:
            if no.status != 401 or no.code not in ("token_expired", "key_mismatch"):
                raise
        self.forget()
        return self._send(method, path, headers or {}, body)

    def forget(self) -> None:
        """Drop the access token, here and in its file."""
        self._token = None
        if self._keep_in is not None:
            self._keep_in.unlink(missing_ok=True)

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Answer:
        token = self.access_token()
        url = self.base_url + path
        named = _sealed_to(body.get("json"))

        def sent(nonce: str | None) -> Answer:
            proof = self._key.make_proof(method, url, token, nonce=nonce, seal_jkt=named)
            signed = {"Authorization": f"DPoP {token}", "DPoP": proof, **headers}
            return self.wire.send(method, url, signed, **body)

        return self._with_nonce(sent)

    def _with_nonce(self, sent: Callable[[str | None], Answer]) -> Answer:
        """Send with the nonce we know, and once more when the broker names another (RFC 9449, 8).

        Nothing has happened then: a proof is looked at before anything else.
        """
        try:
            return sent(self._nonce)
        except Refusal as no:
            named = no.extra.get("dpop_nonce")
            if no.code != "use_dpop_nonce" or not isinstance(named, str) or named == self._nonce:
                raise
        self._nonce = named
        return sent(named)

    def access_token(self) -> str:
        """A token that still lasts, exchanged anew when needed, once however many threads ask."""
        with self._renewing:
            if self._token is None or not self._token.lasts():
                self._token = self._exchange()
                self._keep(self._token)
            return self._token.value

    def _exchange(self) -> AccessToken:
        proof = self._source.get()
        url = f"{self.base_url}/oauth2/token"
        asked_at = time.time()

        def sent(nonce: str | None) -> Answer:
            headers = {"DPoP": self._key.make_proof("POST", url, nonce=nonce)}
            return self._ask(url, headers, proof)

        body = self._with_nonce(sent).body
        return AccessToken(str(body["access_token"]), asked_at + float(body["expires_in"]))

    def _ask(self, url: str, headers: Mapping[str, str], proof: Proof | Certificate) -> Answer:
        """The token request; a certificate is shown on a connection for this one request."""
        if isinstance(proof, Proof):
            return self.wire.send("POST", url, headers, form=proof.form())
        context = trusting(self._ca_file)
        proof.show(context)
        wire = Wire(context=context)
        try:
            return wire.send("POST", url, headers, form=proof.form())
        finally:
            wire.close()

    def _kept(self) -> AccessToken | None:
        kept: dict[str, Any] = read_json(self._keep_in) if self._keep_in is not None else {}
        if kept.get("for") != self._purpose():
            return None
        return AccessToken(str(kept["access_token"]), float(kept["until"]))

    def _keep(self, token: AccessToken) -> None:
        if self._keep_in is not None:
            kept = {"for": self._purpose(), "access_token": token.value, "until": token.until}
            write_private_json(self._keep_in, kept)

    def _purpose(self) -> str:
        what = f"{self.base_url}\n{self._key.thumbprint}\n{self._source.name}"
        return hashlib.sha256(what.encode()).hexdigest()


def _sealed_to(body: object) -> str | None:
    """The key that a body asks to have its answer sealed to: its proof says so too, by name.

    So nobody on the way can put another key in its place, or take it away.
    """
    if not isinstance(body, Mapping) or "seal_to" not in body:
        return None
    return seal_to(body["seal_to"]).thumbprint
