"""A fresh login: what cannot be taken back asks a person to log in again, for that very object."""

from __future__ import annotations

from valetkey.core.errors import FreshLoginRequired
from valetkey.core.principal import Caller
from valetkey.ports import Broker, Transaction


def logged_in_for(broker: Broker, tx: Transaction, caller: Caller, name: str) -> None:
    """Raise FreshLoginRequired unless the login was made for this name, and not too long ago.

    `name` is what the login's `nonce` was (OIDC core section 2), and what the refusal asks for.
    """
    age = tx.now() - (caller.auth_time or tx.now())
    if caller.fresh_for != name or age > broker.limits.fresh_login:
        raise FreshLoginRequired(extra={"fresh_for": name})
