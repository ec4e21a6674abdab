"""What AWS or the way to it says, in our own words; never with a text of theirs."""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from valetkey.core.errors import BrokerError, MinterRefused, MinterUnavailable, OutcomeUnknown

THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ConcurrentModification",
        "SlowDown",
    }
)
OURSELVES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
AWS_TROUBLE = (BotoCoreError, ClientError, ResponseParserError)
"""Everything that a call of AWS raises, but for defects; an answer that is not AWS's among it."""
_UNSENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
_CODE = re.compile(r"[A-Za-z.]{1,60}")


def code_of(problem: Exception) -> str:
    """AWS's own code for a refusal; empty when it did not answer."""
    if not isinstance(problem, ClientError):
        return ""
    code = str(problem.response.get("Error", {}).get("Code", ""))
    return code if _CODE.fullmatch(code) else "unnamed"


def spoken(problem: Exception, *, once: bool) -> BrokerError:
    """The error of ours for what a call raised.

    `once`: the call makes something, so what was sent and not answered may have been done.
    """
    if isinstance(problem, ClientError):
        return _answered(problem, once)
    if isinstance(problem, _UNSENT) or not once:
        return MinterUnavailable("AWS could not be reached", retry_after=5)
    return OutcomeUnknown(retry_after=5)


def _answered(problem: ClientError, once: bool) -> BrokerError:
    code = code_of(problem)
    status = int(problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in THROTTLED:
        return MinterUnavailable("AWS asks us to wait", retry_after=5)
    if code in OURSELVES:
        return MinterUnavailable(f"AWS does not accept our own identity: {code}", retry_after=30)
    if status >= 500:
        away = MinterUnavailable("AWS is not able to work now", retry_after=5)
        return OutcomeUnknown(retry_after=5) if once else away
    return MinterRefused(f"AWS refused: {code}")
