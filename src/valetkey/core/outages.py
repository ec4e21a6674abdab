"""The refusals that come from outside: a back end or the database could not, or would not."""

from __future__ import annotations

from valetkey.core.refusal import BrokerError


class MinterRefused(BrokerError):
    """The back end refused to mint."""

    code = "minter_refused"
    next_action = "Do not retry; an operator must look at the target."


class MinterUnavailable(BrokerError):
    """The back end could not be reached or is not able to work now."""

    code = "minter_unavailable"
    next_action = "Retry after `retry_after` with the same idempotency key."


class NotAsked(MinterUnavailable):
    """We did not ask the back end, for we ourselves are not able to now; nothing was made.

    It says nothing of the back end, and is certain: nothing was sent, and nothing will be.
    """


class MintedTooLong(BrokerError):
    """The back end granted longer than allowed; the credential was ended and not delivered."""

    code = "minted_too_long"
    next_action = "Do not retry; an operator must correct the back end's limits."


class SealingFailed(BrokerError):
    """The credential could not be sealed to the key of the ask; it is being ended."""

    code = "sealing_failed"
    next_action = "Ask again with a new key under a new idempotency key; report it if it stays."


class OutcomeUnknown(BrokerError):
    """The back end did not answer in time; what may exist is being ended."""

    code = "outcome_unknown"
    next_action = "Retry after `retry_after` with a new idempotency key."


class StoreUnavailable(BrokerError):
    """The database cannot be reached, so nothing is issued."""

    code = "store_unavailable"
    next_action = "Retry after `retry_after`."


class NotReady(BrokerError):
    """This replica is not able to issue now."""

    code = "not_ready"
    next_action = "Retry after `retry_after`; operators see the reason at /readyz."
