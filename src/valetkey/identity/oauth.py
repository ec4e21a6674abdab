"""What /oauth2/* answers when it refuses, and how its forms are read (RFC 6749)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import parse_qsl

from valetkey.core.errors import (
    AgentDisabled,
    BrokerError,
    InvalidRequest,
    Killed,
    NotReady,
    RateLimited,
    StoreUnavailable,
    UseDpopNonce,
)

OAuthCode = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "invalid_target",
    "invalid_authorization_details",
    "invalid_dpop_proof",
    "use_dpop_nonce",
    "unsupported_grant_type",
    "unauthorized_client",
    "invalid_binding_message",
    "unknown_user_id",
    "access_denied",
]
LARGEST_FORM: Final = 32 * 1024
_OWN: Final[dict[type[BrokerError], OAuthCode]] = {
    AgentDisabled: "access_denied",
    Killed: "access_denied",
    UseDpopNonce: "use_dpop_nonce",
}
_NOT_OAUTH: Final = (NotReady, StoreUnavailable, RateLimited)


def refused(because: BrokerError, code: OAuthCode, issuer: str | None = None) -> BrokerError:
    """The same refusal, with the RFC 6749 code it is told as in `extra["oauth_error"]`.

    `extra["issuer"]` names the registered issuer whose proof was refused, for counting. A fault
    of our own (NotReady, StoreUnavailable, RateLimited) has no such code and stays as it is.
    """
    if not isinstance(because, _NOT_OAUTH):
        own = next((word for kind, word in _OWN.items() if isinstance(because, kind)), code)
        because.extra.setdefault("oauth_error", own)
    if issuer is not None:
        because.extra.setdefault("issuer", issuer)
    return because


def malformed(detail: str, code: OAuthCode = "invalid_request") -> BrokerError:
    """A refusal of the request itself; `detail` holds nothing of what was sent."""
    return refused(InvalidRequest(detail), code)


def check_asked(form: Mapping[str, str], url: str) -> None:
    """Refuse what no grant of ours takes: shared secrets, scopes, tokens for others than us."""
    if "client_secret" in form:
        raise malformed("shared secrets are not accepted", "invalid_client")
    if "scope" in form:
        raise malformed("scopes are asked for at POST /v1/credentials", "invalid_scope")
    if any(form.get(name, url) != url for name in ("resource", "audience")):
        raise malformed("tokens are given for this API only", "invalid_target")


def read_form(body: bytes) -> dict[str, str]:
    """Parse application/x-www-form-urlencoded with one value per name (RFC 6749 section 3.2).

    Raises InvalidRequest for repeated names, more than 32 KiB, or what is not UTF-8.
    """
    if len(body) > LARGEST_FORM:
        raise malformed("the form is too large")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=64,
        )
    except ValueError:
        raise malformed("the body is not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise malformed("a parameter is there twice")
    return {name: value for name, value in form.items() if value != ""}


def need(form: Mapping[str, str], name: str) -> str:
    """A parameter that must be there; raises InvalidRequest naming it."""
    if name not in form:
        raise malformed(f"{name} is missing")
    return form[name]
