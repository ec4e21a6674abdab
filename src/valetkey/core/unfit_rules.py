"""Refusals of versions of the rules; a part of the closed catalogue in `errors`."""

from __future__ import annotations

from valetkey.core.refusal import BrokerError


class RulesInvalid(BrokerError):
    """A target, a policy or a policy test is wrong; `problems` names each file and line."""

    code = "rules_invalid"
    next_action = "Correct what `problems` names; `valetkey apply --check` finds it offline."


class RulesNotProven(BrokerError):
    """These rules may not come into force here and now; `problems` names each target and why."""

    code = "rules_not_proven"
    next_action = "Have an administrator put right what `problems` says of each, then try again."


class RulesFromFiles(BrokerError):
    """This installation reads its catalogue and policies from files beside it."""

    code = "rules_from_files"
    next_action = "Change the files; or set `rules.source` to `store`, and `valetkey rules init`."
