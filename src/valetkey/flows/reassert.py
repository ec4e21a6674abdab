"""Reassert: a refusal holds only while somebody sees that it does; so we look again, every tick."""

from __future__ import annotations

from valetkey.core.errors import BrokerError
from valetkey.core.facts import FactKind
from valetkey.flows.recording import CLOCK, lease_fact
from valetkey.ports import Broker, Lapse


def reassert(broker: Broker) -> int:
    """Have every minter look at what it told to be refused; how many lapses there were.

    A lapse is written anew by the minter before it is told here. Raises the last of what kept a
    minter from looking, once all have been asked.
    """
    lapses, trouble = 0, None
    for minter in broker.minters.values():
        try:
            found = minter.reassert()  # outside any transaction
        except BrokerError as problem:
            trouble = problem
            continue
        for lapse in found:
            _tell(broker, lapse)
        lapses += len(found)
    if trouble is not None:
        raise trouble
    return lapses


def _tell(broker: Broker, lapse: Lapse) -> None:
    """Its leases are not called denied until the sweep, at once, has found that they are."""
    with broker.store.transaction() as tx:
        told = [lease for lease in tx.unended_at(lapse.place) if lease.denied_at is not None]
        for lease in told:
            again = lease.allowed_again(tx.now())
            tx.save_lease(again)
            tx.record(lease_fact(FactKind.DENIAL_LAPSED, again, CLOCK, "lapsed"))
    about = {"place": lapse.place, "why": lapse.why, "leases": str(len(told))}
    broker.notifier.alarm("a refusal was undone outside and has been written again", about)
