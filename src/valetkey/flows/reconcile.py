"""Reconcile: compare our leases with what really exists outside, both ways, target by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from valetkey.core.ask import canonical_hash
from valetkey.core.comparison import (
    Comparison,
    Difference,
    Known,
    Order,
    epoch_of,
    held_targets,
    same_installation,
)
from valetkey.core.errors import BrokerError
from valetkey.core.facts import Fact, FactKind
from valetkey.core.ids import LeaseId, lease_id_of
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.tally import Doubt
from valetkey.flows.adopt import adopt, vanish
from valetkey.flows.recording import CLOCK
from valetkey.flows.witness import doubts, note_tally
from valetkey.ports import Broker, Found, Minter, Presence, Transaction

AGAIN = timedelta(hours=1)


@dataclass(frozen=True)
class Look:
    """What was seen at one target: objects of ours that should not be, and leases without one.

    `ordered` are objects of the epoch that an operator's order names.
    """

    target: str
    odd: Sequence[Found]
    missing: Sequence[Known]
    live: int
    ordered: Sequence[Found] = ()

    @classmethod
    def of(
        cls,
        target: str,
        known: Sequence[Known],
        seen: Mapping[str, Found],
        strays: tuple[Sequence[Found], Sequence[Found]],
    ) -> Look:
        """What concerns this target, of everything known and seen, odd and ordered."""
        live = [x for x in known if x.target == target and x.state is LeaseState.ACTIVE]
        missing = [x for x in live if x.name not in seen]
        odd, ordered = ([x for x in each if x.handle.target == target] for each in strays)
        return cls(target, odd, missing, len(live), ordered)


def leads(broker: Broker, duty: str, every: timedelta) -> bool:
    """Whether this replica does a duty in this turn of the database's clock; the first one does.

    Nothing is held meanwhile: should it die, another one leads the next turn.
    """
    now = broker.store.now()
    turn = int(now.timestamp() // every.total_seconds())
    return broker.store.first_use("lead", f"{duty} {turn}", now + 2 * every)


def reconcile(broker: Broker, minter_name: str, order: Order | None = None) -> Comparison:
    """Compare one minter's objects with our leases, and act unless the difference is suspicious.

    A restored backup on either side shows as a large difference or as a doubt of the witness: then
    it only reports, until a human gives an order. A target that cannot be looked at holds up no
    other. Replicas that do it at once see the same and act once.
    """
    outcome = Comparison()
    _record_order(broker, minter_name, order)
    doubted = _doubted(broker, minter_name, order, outcome)
    with broker.store.transaction() as tx:
        known = tx.unended_names(minter_name)
    looks = _look_everywhere(broker, minter_name, known, outcome, order)
    if doubted is not None:
        outcome.held = {look.target: doubted for look in looks}
    elif order is None or not order.act:
        outcome.held = _suspicious(broker, looks)
    _tell_of_strangers(broker, minter_name, outcome)
    _tell_what_waits(broker, minter_name, outcome)
    for look in looks if doubted is None else ():
        held = look.target in outcome.held
        _act(broker, minter_name, replace(look, odd=(), missing=()) if held else look, outcome)
    return outcome


def _doubted(
    broker: Broker, minter_name: str, order: Order | None, outcome: Comparison
) -> str | None:
    """Why one side may be a copy; a witness that is older is overruled by an order."""
    try:
        why = doubts(broker, minter_name)
        ordered = order is not None and order.act
        if why is None or (ordered and why == Doubt.WITNESS_IS_OLDER):
            note_tally(broker, minter_name, over_older=ordered)
            why = None
    except BrokerError as problem:
        outcome.problems["witness"] = problem.code
        return None
    return why


def _suspicious(broker: Broker, looks: Sequence[Look]) -> dict[str, str]:
    limits = broker.limits
    differences = {x.target: Difference(len(x.odd), len(x.missing), x.live) for x in looks}
    return held_targets(differences, limits.reconcile_floor, limits.reconcile_share)


def _look_everywhere(
    broker: Broker,
    minter_name: str,
    known: Sequence[Known],
    outcome: Comparison,
    order: Order | None,
) -> list[Look]:
    """Outside any transaction, and after reading what lives; each object is seen once."""
    minter, seen = broker.minters[minter_name], dict[str, Found]()
    targets = _targets(minter, outcome)
    for target in targets:
        try:
            found = {x.handle.name: x for x in minter.found(target)}
        except BrokerError as problem:
            outcome.problems[target] = problem.code
            continue
        seen = {**found, **seen}
    looked = [x for x in targets if x not in outcome.problems]
    outcome.seen = len(seen)
    lived = {x.target for x in known if x.state is LeaseState.ACTIVE}
    outcome.unlooked = sorted(lived - set(targets)) if targets else []
    names = {x.name for x in known}
    rest = [found for name, found in seen.items() if name not in names]
    odd, ordered = _odd(broker, rest, outcome, order)
    looks = [Look.of(target, known, seen, (odd, ordered)) for target in looked]
    outcome.odd = [x.handle.name for look in looks for x in look.odd]
    outcome.missing = [x.lease_id for look in looks for x in look.missing]
    return looks


def _targets(minter: Minter, outcome: Comparison) -> Sequence[str]:
    """None are known while no catalogue is in force."""
    try:
        return minter.targets()
    except BrokerError as problem:
        outcome.problems["catalogue"] = problem.code
        return []


def _odd(
    broker: Broker, found: Sequence[Found], outcome: Comparison, order: Order | None
) -> tuple[list[Found], list[Found]]:
    """What is out there for a lease that has ended, or for none; strangers are only noted."""
    behind: Mapping[str, Known | None] = {}
    if found:
        with broker.store.transaction() as tx:
            behind = leases_behind(tx, found)
    odd, ordered = [], []
    for one in found:
        lease, name = behind[one.handle.name], one.handle.name
        if lease is not None or one.installation == broker.installation:
            if lease is None or lease.state is LeaseState.ENDED:
                odd.append(one)
        elif not same_installation(one.installation, broker.installation):
            outcome.foreign.append(name)
        elif order is not None and epoch_of(one.installation) == order.epoch:
            ordered.append(one)
        else:
            outcome.other_epochs.append(name)
    return odd, ordered


def leases_behind(tx: Transaction, found: Sequence[Found]) -> Mapping[str, Known | None]:
    """By the names of objects, the lease of each; None where nobody knows of one.

    Whoever has our logins at the back end may borrow the mark of a lease that lives, for a role of
    another scope. Such a role has another name than that lease's, and gets a lease of its own.
    """
    ids = {LeaseId(x) for one in found for x in (one.lease_id, lease_id_of(one.handle.name))}
    known = {x.name: x for x in tx.names_of(sorted(ids))}
    return {one.handle.name: known.get(one.handle.name) for one in found}


def _record_order(broker: Broker, minter_name: str, order: Order | None) -> None:
    """Written before done: who had it act, and why."""
    if order is None:
        return
    body = {"minter": minter_name, "epoch": order.epoch, "untrusted_reason": order.reason}
    with broker.store.transaction() as tx:
        tx.record(Fact(FactKind.RECONCILE_ORDERED, f"shell {order.by}", body=body))


def _tell_of_strangers(broker: Broker, minter_name: str, outcome: Comparison) -> None:
    """Objects of other installations, and of other epochs of ours: on record, and an alarm."""
    for names, what in (
        (outcome.foreign, "objects of another installation are there"),
        (outcome.other_epochs, "objects of another epoch are there"),
    ):
        names.sort()
        body: dict[str, object] = {"names": names[:50]}
        if names and _tell(broker, FactKind.FOREIGN_MARK_SEEN, minter_name, body):
            broker.notifier.alarm(what, {"minter": minter_name, "count": str(len(names))})


def _tell_what_waits(broker: Broker, minter_name: str, outcome: Comparison) -> None:
    for target, why in outcome.held.items():
        body: dict[str, object] = {"target": target, "why": why}
        if _tell(broker, FactKind.RECONCILE_HELD, minter_name, body):
            about = {"target": target, "why": why}
            broker.notifier.alarm("reconcile waits for a human", about)


def _act(broker: Broker, minter_name: str, look: Look, outcome: Comparison) -> None:
    for found in _still_there(broker, minter_name, look):
        adopt(broker, found, outcome)
    for known in look.missing:
        with broker.store.transaction() as tx:
            lease = tx.lease(known.lease_id)
        if lease is not None and _is_absent(broker, minter_name, lease):
            vanish(broker, lease, outcome)


def _still_there(broker: Broker, minter_name: str, look: Look) -> Sequence[Found]:
    """Without what was only ended while we compared; what cannot be looked at now comes again."""
    found = [*look.odd, *look.ordered]
    if not found:
        return []
    try:
        there = {x.handle.name for x in broker.minters[minter_name].found(look.target)}
    except BrokerError:
        return []
    return [one for one in found if one.handle.name in there]


def _is_absent(broker: Broker, minter_name: str, lease: Lease) -> bool:
    """We looked, and it is not there; what cannot be looked at now keeps nothing else waiting."""
    try:
        return broker.minters[minter_name].probe(lease.handle) is Presence.ABSENT
    except BrokerError:
        return False


def _tell(broker: Broker, kind: FactKind, minter: str, body: dict[str, object]) -> bool:
    """Put it on record, once an hour while it stays the same; False when that was done."""
    told = {"minter": minter, **body}
    key = canonical_hash({"kind": kind.value, **told})
    if not broker.store.first_use("reconcile", key, broker.store.now() + AGAIN):
        return False
    with broker.store.transaction() as tx:
        tx.record(Fact(kind=kind, by=CLOCK, outcome="reported", body=told))
    return True
