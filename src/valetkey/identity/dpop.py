"""Proof of possession for each request (DPoP, RFC 9449 section 4.3)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from valetkey.core.errors import BrokerError, ClockSkew, InvalidDpopProof, KeyMismatch
from valetkey.core.peer import NOBODY, Peer
from valetkey.identity.doorstep import Waits
from valetkey.identity.jose import (
    BadToken,
    UnverifiedJws,
    VerifiedClaims,
    VerifyingKey,
    encode_segment,
    instant,
    read_compact,
    text,
    verified_claims,
    verifying_key,
)
from valetkey.identity.nonces import Nonces
from valetkey.identity.oauth import refused

ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519")
WINDOW: Final = timedelta(seconds=60)
_PERCENT: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Sent:
    """One request as it reached us: its DPoP headers, method, URL, and who sent it over TLS.

    The URL is built from the configured external address, never from Host or X-Forwarded-*.
    With `nonces` the proof must hold one of them; `waits` are of keys that ask for tokens.
    """

    proofs: Sequence[str]
    method: str
    url: str
    nonces: Nonces | None = None
    peer: Peer = NOBODY
    waits: Waits | None = None


@dataclass(frozen=True)
class DpopProof:
    """A proof that passed: the thumbprint of its key (RFC 7638), its id and when it was made.

    `seals_to` is what its claim `seal_jkt` says: the key that the answer is to be sealed to. It is
    a claim of our own (RFC 9449 section 4.2 lets there be more), and may be left out.
    """

    jkt: str
    jti: str
    made_at: datetime
    seals_to: str | None = None

    @property
    def until(self) -> datetime:
        """The last instant at which it would be accepted."""
        return self.made_at + WINDOW


def verify_dpop(
    sent: Sent, now: datetime, access_token: str | None = None, jkt: str | None = None
) -> DpopProof:
    """Check everything about the proof of one request but that it is used once.

    With `access_token` its hash must be in the proof, with `jkt` the key must be that one.
    Raises InvalidDpopProof, ClockSkew (outside 60 s either way), KeyMismatch or UseDpopNonce.
    """
    if len(sent.proofs) != 1:
        raise InvalidDpopProof("exactly one DPoP header is needed")
    try:
        proof, claims = _open(sent.proofs[0])
    except BadToken as bad:
        raise InvalidDpopProof(str(bad)) from None
    if abs(proof.made_at - now) > WINDOW:
        raise ClockSkew("the DPoP proof was not made within 60 seconds of our clock")
    _check_target(claims, sent)
    if access_token is not None:
        _check_token(claims, access_token)
    if jkt is not None and not hmac.compare_digest(proof.jkt, jkt):
        raise KeyMismatch()
    if sent.nonces is not None:
        sent.nonces.check(claims, now)
    return proof


def bound_key(sent: Sent, now: datetime) -> DpopProof:
    """The proof of a token request, whose key the token is to be bound to (RFC 9449 section 5).

    Raises what `verify_dpop` raises, told as `invalid_dpop_proof`, and RateLimited for a key that
    was told to come again later: before anything else is looked at.
    """
    try:
        proof = verify_dpop(sent, now)
    except BrokerError as because:
        raise refused(because, "invalid_dpop_proof") from None
    if sent.waits is not None:
        sent.waits.check(proof.jkt)
    return proof


def _open(header: str) -> tuple[DpopProof, VerifiedClaims]:
    jws = read_compact(header, also=frozenset({"jwk"}))
    if jws.unverified_header.get("typ") != "dpop+jwt":
        raise BadToken("the proof is not of type dpop+jwt")
    if jws.alg not in ALGORITHMS:
        raise BadToken("the proof's algorithm is not accepted")
    key = _own_key(jws)
    claims = verified_claims(jws, key)
    made_at = datetime.fromtimestamp(min(instant(claims, "iat"), 2**33), UTC)
    seals_to = text(claims, "seal_jkt") if "seal_jkt" in claims else None
    return DpopProof(key.thumbprint, text(claims, "jti"), made_at, seals_to), claims


def _own_key(jws: UnverifiedJws) -> VerifyingKey:
    jwk = jws.unverified_header.get("jwk")
    if not isinstance(jwk, Mapping) or not all(isinstance(value, str) for value in jwk.values()):
        raise BadToken("the proof does not hold its public key")
    return _imported(tuple(sorted(jwk.items())))


@lru_cache(maxsize=1024)
def _imported(members: tuple[tuple[str, str], ...]) -> VerifyingKey:
    """Import a public key; remembered, because callers send the same key with each request."""
    return verifying_key(dict(members))


def _check_target(claims: VerifiedClaims, sent: Sent) -> None:
    htu = claims.get("htu")
    if claims.get("htm") != sent.method or not isinstance(htu, str):
        raise InvalidDpopProof("the proof was made for another method")
    try:
        same = normal_url(htu) == normal_url(sent.url)
    except ValueError:
        same = False
    if not same:
        raise InvalidDpopProof("the proof was made for another URL")


def _check_token(claims: VerifiedClaims, access_token: str) -> None:
    ath = claims.get("ath")
    wanted = encode_segment(hashlib.sha256(access_token.encode()).digest())
    if not isinstance(ath, str) or not hmac.compare_digest(ath.encode(), wanted.encode()):
        raise InvalidDpopProof("the proof was made for another token")


@lru_cache(maxsize=1024)
def normal_url(url: str) -> str:
    """A URL without query and fragment, normalised (RFC 3986 section 6.2.2 and 6.2.3).

    Raises ValueError when it is not an http(s) URL, or carries a user or control characters.
    """
    if len(url) > 2048 or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("not a URL")
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _PORTS or not host or "@" in parts.netloc:
        raise ValueError("not an http URL")
    port = "" if parts.port in (None, _PORTS[scheme]) else f":{parts.port}"
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}{port}{_plain_path(parts.path)}"


def _plain_path(path: str) -> str:
    spelled = _PERCENT.sub(_one_spelling, path)
    if "%" in _PERCENT.sub("", spelled):
        raise ValueError("a percent sign encodes nothing")
    kept: list[str] = []
    segments = spelled.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _one_spelling(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()
