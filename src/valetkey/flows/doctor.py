"""Doctor: look for broken invariants in the database and the back ends; changes nothing.

The names I1 to I20 are those of the reliability reference, listed in `docs/operations.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from valetkey.core.invariants import Terms, Violation, violation
from valetkey.core.words import is_known
from valetkey.flows.doctor_outside import Outside
from valetkey.ports import Broker, Transaction

LATELY = timedelta(days=1)


def doctor(broker: Broker, lately: timedelta = LATELY) -> list[Violation]:
    """Every violation found; empty means well. Safe to run in production.

    What is not ended is always looked at; what has ended, kills and facts only back to `lately`.
    Raises StoreUnavailable.
    """
    patience = broker.patience
    moment = patience.claim + timedelta(seconds=10)  # what a sweep may take
    with broker.store.transaction() as tx:
        now = tx.now()
        soon = now + patience.longest_retry + patience.claim
        terms = Terms(late=now - moment, latest=soon, since=now - lately)
        found = [violation(rule, about) for rule, about in tx.broken(terms)]
        found += _left_alone(broker, tx, terms.limit)
    for name in broker.minters:
        found += Outside(broker, name, now, moment).violations()
    return found


def _left_alone(broker: Broker, tx: Transaction, limit: int) -> Iterator[Violation]:
    """What a newer version wrote, or a minter made that is not here: nobody here acts on it."""
    for lease in tx.left_alone(tuple(broker.minters), limit):
        whose = f"{lease.state.value}, made by {lease.handle.minter}"
        yield Violation("I12", lease.id, f"is {whose}, which is not known here, and left alone")
    for kill in tx.kills_in_force():
        if not is_known(kill.height):
            told = f"stops a {kill.height.value}, which is not known here: nothing is given"
            yield Violation("I8", kill.id, told)
