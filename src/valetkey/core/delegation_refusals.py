"""The refusals about authority that is passed on: by a task to another, by a person to an agent."""

from __future__ import annotations

from valetkey.core.refusal import BrokerError


class DelegationRefused(BrokerError):
    """A task cannot be passed on like this."""

    code = "delegation_refused"
    next_action = "Ask for less, for an agent that is not above, or closer to the root."


class OutsideDelegation(BrokerError):
    """The person did not let this agent do that for them."""

    code = "outside_delegation"
    next_action = "Stay within the delegation's scopes, or have the person give a wider one."


class DelegationEnded(BrokerError):
    """The person took the delegation back, or its time is over."""

    code = "delegation_ended"
    next_action = "Stop acting for this person, until they give a new delegation."
