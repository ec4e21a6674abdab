"""AWS Signature Version 4, checked: in the Authorization header or in a presigned URL.

From "AWS Signature Version 4 for API requests" (IAM user guide): canonical request, string to
sign, signing key. Streaming bodies signed chunk by chunk are not judged.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from valetkey.devstack.aws.wire import Call, Refused, not_judged

SKEW = timedelta(minutes=15)
ALGORITHM = "AWS4-HMAC-SHA256"
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]+)"
)


@dataclass(frozen=True)
class Signed:
    """What a request says of its own signature, unverified."""

    access_key: str
    scope: str
    service: str
    headers: tuple[str, ...]
    signature: str
    at: str
    token: str | None
    presigned_for: int | None

    @property
    def region(self) -> str:
        """The region that the client meant."""
        return self.scope.split("/")[1]


def read(call: Call) -> Signed | None:
    """Return what `call` says of its signature, None when it is not signed at all.

    Raises Refused when it is signed in a way we cannot read.
    """
    parameters = call.parameters
    if "authorization" in call.headers:
        found = _HEADER.fullmatch(call.headers["authorization"].strip())
        if found is None:
            raise not_judged("a signature other than Version 4 with one key")
        credential, headers, signature = found.groups()
        at, token, life = call.headers.get("x-amz-date", ""), "x-amz-security-token", None
        return _signed(credential, headers, signature, (at, call.headers.get(token), life))
    if parameters.get("X-Amz-Algorithm") == ALGORITHM:
        stamp = (
            parameters.get("X-Amz-Date", ""),
            parameters.get("X-Amz-Security-Token"),
            int(parameters.get("X-Amz-Expires", "0")),
        )
        return _signed(
            parameters.get("X-Amz-Credential", ""),
            parameters.get("X-Amz-SignedHeaders", ""),
            parameters.get("X-Amz-Signature", ""),
            stamp,
        )
    return None


def _signed(
    credential: str, headers: str, signature: str, stamp: tuple[str, str | None, int | None]
) -> Signed:
    parts = credential.split("/")
    if len(parts) != 5:
        raise Refused(400, "AuthorizationHeaderMalformed", "the credential has not five parts")
    at, token, life = stamp
    names = tuple(headers.split(";"))
    return Signed(parts[0], "/".join(parts[1:]), parts[3], names, signature, at, token, life)


def verify(call: Call, signed: Signed, secret: str, now: datetime) -> None:
    """Check the signature of `call` with `secret`, its time and the hash of its body.

    Raises Refused with AWS's codes.
    """
    _check_time(signed, now)
    payload = _payload(call, signed)
    scope = signed.scope.split("/")
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = _mac(key, part)
    canonical = _canonical(call, signed, payload)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    expected = _mac(key, f"{ALGORITHM}\n{signed.at}\n{signed.scope}\n{digest}").hex()
    if not hmac.compare_digest(expected, signed.signature):
        raise Refused(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )


def _check_time(signed: Signed, now: datetime) -> None:
    try:
        at = datetime.strptime(signed.at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(403, "AccessDenied", "the request has no valid X-Amz-Date") from None
    if signed.presigned_for is not None:
        if now >= at + timedelta(seconds=signed.presigned_for):
            raise Refused(403, "AccessDenied", "Request has expired")
    elif abs(now - at) > SKEW:
        raise Refused(403, "RequestTimeTooSkewed", "The request's time differs too much from ours.")


def _payload(call: Call, signed: Signed) -> str:
    digest = hashlib.sha256(call.body).hexdigest()
    if signed.presigned_for is not None:
        return "UNSIGNED-PAYLOAD"
    told = call.headers.get("x-amz-content-sha256", digest)
    if told in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        return told
    if told.startswith("STREAMING-"):
        raise not_judged(f"a body signed as {told}")
    if told != digest:
        raise Refused(400, "XAmzContentSHA256Mismatch", "The body does not match its hash.")
    return told


def _canonical(call: Call, signed: Signed, payload: str) -> str:
    """Return the canonical request; S3 encodes the path once, and the others have only `/`."""
    pairs = (pair.partition("=") for pair in call.query.split("&") if pair)
    encoded = sorted(
        (_encode(name), _encode(value)) for name, _, value in pairs if name != "X-Amz-Signature"
    )
    headers = "".join(
        f"{name}:{' '.join(call.headers.get(name.replace('_', '-'), '').split())}\n"
        for name in signed.headers
    )
    query = "&".join(f"{name}={value}" for name, value in encoded)
    names = ";".join(signed.headers)
    return f"{call.method}\n{call.path}\n{query}\n{headers}\n{names}\n{payload}"


def _encode(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
