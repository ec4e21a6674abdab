"""What to do now, in words of the command line, where the broker's own words are of HTTP.

The broker's `next_action` is the same for everybody who calls it; whoever runs a command sends no
header and knows no route. `docs/reference/cli.md` lists this, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_AGAIN: Final = "Run the command again after `retry_after` seconds."
INSTEAD: Final[Mapping[str, str]] = {
    "unauthenticated": "Log in again (`valetkey login`), or give a fresh identity token.",
    "token_expired": "Log in again (`valetkey login`), or give a fresh identity token.",
    "clock_skew": "Correct this machine's clock, then run the command again.",
    "proof_replayed": "Run the command again; where it stays, give a fresh identity token.",
    "invalid_dpop_proof": "Run the command again; where it stays, check the profile's address.",
    "use_dpop_nonce": "Run the command again.",
    "key_mismatch": "Use the profile that first showed this identity token, or give a fresh one.",
    "wrong_door": "Run this as the other: people log in, agents and jobs show an identity token.",
    "denied_by_policy": "Ask for less (see `valetkey explain`), or have the policy changed.",
    "outside_token": "Run the command without a token made for other asks.",
    "stale_heartbeat": "Stop, unless the later beat was yours: `valetkey task show` has `fence`.",
    "in_progress": "Wait `retry_after` seconds; for a lost answer repeat with --redeliver LEASE.",
    "already_delivered": "Use the credential you have, or repeat with --redeliver LEASE.",
    "idempotency_mismatch": "Use a new --idempotency-key for a new request.",
    "still_waiting": "Look with `valetkey grant show`, and collect once people decided.",
    "not_renewable": "Ask for a new credential, with --renewable-for if it is to be renewed.",
    "invalid_request": "Correct what the reason names; see the command's --help.",
    "unsupported_media_type": "Use a client and a broker of the same version.",
    "unknown_scope": "See `valetkey catalogue show` for what may be asked for.",
    "invalid_parameter": "See `valetkey catalogue show` for each parameter's type.",
    "invalid_ttl": "Give a whole number of seconds, or a time like 5m, within the limit.",
    "rate_limited": "Wait `retry_after` seconds; end what you no longer need.",
    "minter_unavailable": f"{_AGAIN[:-1]}, with the same --idempotency-key.",
    "outcome_unknown": _AGAIN,
    "store_unavailable": _AGAIN,
    "not_ready": "Run the command again after `retry_after` seconds; operators see the reason.",
}
"""By code of the catalogue."""

OWN: Final[Mapping[str, str]] = {
    "unreachable": "Check the profile's address and the network, then run the command again.",
    "login_failed": "Run the command again, and finish the login in the browser.",
    "not_approved": "Nothing was changed; run the command again to decide otherwise.",
    "not_given": "Nothing was given; run the command again to decide otherwise.",
    "not_up": "Look into the log that the reason names.",
    "already_up": "Use the stack that runs (`valetkey dev status`), or end it first.",
}
"""By codes that only the command line has."""

UNKNOWN: Final = (
    "Look whether something stands between here and the broker; its answer is not its own."
)
"""For an answer that is none of the broker's."""


def next_action(problem: Mapping[str, object]) -> str:
    """What whoever ran a command should do now about a refusal, as it came or was made here.

    A refusal made here may say it itself.
    """
    code, said = str(problem.get("code")), problem.get("next_action")
    if code in OWN:
        return OWN[code]
    if problem.get("status") is None and said:
        return str(said)
    return INSTEAD.get(code) or str(said or UNKNOWN)
