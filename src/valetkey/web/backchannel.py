"""What the back channel answers: a flow's outcome, in the words of RFC 6749 and CIBA Core 1.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from valetkey.core import errors
from valetkey.core.backchannel import INTERVAL, BackchannelAsk
from valetkey.core.detail import Detail
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.flows.backchannel import begin, poll
from valetkey.web.desk import Desk

Told = Mapping[type[errors.BrokerError], str]

_OURS: Final = (errors.NotReady, errors.StoreUnavailable)
_AT_THE_START: Final[Told] = {
    errors.InvalidRequest: "unknown_user_id",
    errors.NotFound: "invalid_authorization_details",
    errors.UnknownScope: "invalid_authorization_details",
    errors.InvalidParameter: "invalid_authorization_details",
    errors.SealingRequired: "invalid_authorization_details",
}
_AT_A_POLL: Final[Told] = {
    errors.StillWaiting: "authorization_pending",
    errors.ApprovalTimedOut: "expired_token",
    errors.NotFound: "invalid_grant",
    errors.AlreadyDecided: "invalid_grant",
    errors.TokenExpired: "invalid_client",
}


def begun(desk: Desk, asked: BackchannelAsk) -> dict[str, object]:
    """The answer of CIBA Core 1.0 section 7.3: the id, how long it is good, and the interval."""
    with _told(_AT_THE_START), desk.metrics.counting_denials():
        one = begin(desk.broker, asked)
    desk.metrics.decisions.labels("needs_approval" if one.waits else "allow").inc()
    return {
        "auth_req_id": one.auth_req_id,
        "expires_in": int(one.expires_in.total_seconds()),
        "interval": int(INTERVAL.total_seconds()),
    }


def polled(desk: Desk, caller: Caller, auth_req_id: str) -> Mapping[str, object]:
    """The token with which what was granted is collected, once (section 10.1.1)."""
    with _told(_AT_A_POLL):
        grant = poll(desk.broker, caller, auth_req_id)
    granted = Detail(grant.task_id, Scope.parse(grant.scope), grant.granted_ttl, grant.id)
    return desk.authenticator.token_for(caller, granted)


@contextmanager
def _told(words: Told) -> Iterator[None]:
    """Whatever is refused in the block is told by its word; else somebody or something said no."""
    try:
        yield
    except _OURS:
        raise
    except errors.RateLimited as fast:
        if fast.extra.get("limit") == "poll":
            fast.extra["oauth_error"] = "slow_down"
        raise
    except errors.BrokerError as refused:
        refused.extra.setdefault("oauth_error", words.get(type(refused), "access_denied"))
        raise
