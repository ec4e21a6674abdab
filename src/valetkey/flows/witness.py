"""Witness: hold our database against what is noted outside it, and note the next tally there."""

from __future__ import annotations

from valetkey.core.errors import MinterRefused
from valetkey.core.tally import Doubt, Noted, Tallies, doubt
from valetkey.ports import Broker, Witness

RENAMED = "this process runs under a name that its database no longer has: restart it"


def doubts(broker: Broker, minter: str) -> str | None:
    """Why our database, or this minter's witness, may be a copy; None when all is well.

    Changes nothing. Raises what the witness raises when it cannot be asked, and StoreUnavailable.
    """
    with broker.store.transaction() as tx:
        if tx.installation() != broker.installation:
            return RENAMED
    witness = broker.witnesses.get(minter)
    return None if witness is None else _compared(broker, minter, witness)[0]


def note_tally(broker: Broker, minter: str, *, over_older: bool = False) -> None:
    """Note the next tally outside, unless there is a doubt.

    A human who knows our database for the original may note `over_older` witnesses; over one that
    remembers more than we do nobody may. Raises as `doubts` does.
    """
    witness = broker.witnesses.get(minter)
    if witness is None:
        return
    found, known, noted = _compared(broker, minter, witness)
    if found is not None and not (over_older and found is Doubt.WITNESS_IS_OLDER):
        return
    there, word = noted.tally if noted else None, broker.new_id("tally")
    seen = known.noted() if there is not None and there == known.coming else known
    coming = seen.above(there, word) if found else seen.proposed(word)
    if coming.coming is None or not _remember(broker, minter, known, coming):
        return  # another replica is at it
    broker.failpoint("tally.written")
    try:
        witness.note(broker.installation, coming.coming, noted.version if noted else 0)
    except MinterRefused:
        return  # somebody noted something meanwhile: the next look tells who
    broker.failpoint("tally.noted")
    _remember(broker, minter, coming, coming.noted())


def _compared(
    broker: Broker, minter: str, witness: Witness
) -> tuple[Doubt | None, Tallies, Noted | None]:
    """A doubt counts only if our side stood still while we looked at the other."""
    before = _known(broker, minter)
    noted = witness.noted(broker.installation)
    found = doubt(before, noted.tally if noted else None)
    if found is not None and _known(broker, minter) != before:
        found = None
    return found, before, noted


def _known(broker: Broker, minter: str) -> Tallies:
    with broker.store.transaction() as tx:
        return tx.tallies(_name(broker, minter))


def _remember(broker: Broker, minter: str, before: Tallies, after: Tallies) -> bool:
    """Write it down if nobody else has since; False when somebody has."""
    name = _name(broker, minter)
    with broker.store.transaction() as tx:
        if not tx.try_lead(f"tally {name}") or tx.tallies(name) != before:
            return False
        tx.save_tallies(name, after)
    return True


def _name(broker: Broker, minter: str) -> str:
    return f"{minter} {broker.installation}"
