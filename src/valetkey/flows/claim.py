"""Claim: our installation's name at each back end that has none, so that marks have an owner."""

from __future__ import annotations

from valetkey.core.facts import Fact, FactKind
from valetkey.flows.recording import CLOCK
from valetkey.ports import Broker


def claim_back_ends(broker: Broker) -> list[str]:
    """Claim every target that nobody has claimed; the names of those.

    A target claimed by another installation or epoch is left alone, and its minter is not ready.
    Raises what the minter raises when it cannot be asked.
    """
    claimed = [name for minter in broker.minters.values() for name in minter.claim()]
    if claimed:
        with broker.store.transaction() as tx:
            for target in claimed:
                body = {"installation": broker.installation}
                tx.record(Fact(FactKind.INSTALLATION_CLAIMED, CLOCK, target=target, body=body))
    return claimed
