"""New epoch: after a restore, tell what we make from now on apart from what was made and lost.

Whatever the lost time decided is unknown: kills, ended tasks, disabled agents, denials. So a kill
of everything comes into force in the same commit, and every open task is due. People release that
kill once they have ordered again what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from valetkey.core.comparison import epoch_of, same_installation
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import Height, Kill
from valetkey.ports import Broker, Store


@dataclass(frozen=True)
class Epoch:
    """The one that began: our new name, the kill that is in force with it, the tasks that end."""

    installation: str
    before: str
    kill: Kill
    tasks: int


def new_epoch(
    store: Store, new_id: Callable[[str], str], by: str, reason: str, above: int
) -> Epoch:
    """Begin an epoch above this one and above ours; needs the owner's store.

    `by` is the name of the operator at the shell, as they gave it. One commit; raises
    StoreUnavailable.
    """
    who = f"shell {by}"
    with store.transaction() as tx:
        tx.close_barrier()
        before = tx.installation()
        after = tx.begin_epoch(above + 1)
        kill = Kill(new_id("kill"), Height.EVERYTHING, "", reason, who, tx.now())
        tx.add_kill(kill)
        tasks = tx.hurry_tasks()
        told = {"before": before, "kill": kill.id, "tasks": tasks, "untrusted_reason": reason}
        tx.record(Fact(FactKind.EPOCH_BEGUN, who, body={"installation": after, **told}))
        height = {"kill": kill.id, "height": kill.height.value, "subject": ""}
        body = {**height, "untrusted_reason": reason}
        tx.record(Fact(FactKind.KILL_ORDERED, who, body=body))
    return Epoch(after, before, kill, tasks)


def highest_epoch(broker: Broker) -> int:
    """The highest epoch of ours that any back end remembers, by notes or by marks; at least ours.

    Raises what a minter raises: an epoch that was used before must not be used again.
    """
    names = {broker.installation}
    for witness in broker.witnesses.values():
        names |= set(witness.installations())
    for minter in broker.minters.values():
        for target in minter.targets():
            names |= {found.installation for found in minter.found(target)}
    return _highest(names, broker.installation)


def _highest(names: Iterable[str], ours: str) -> int:
    return max(epoch_of(name) for name in names if same_installation(name, ours))
