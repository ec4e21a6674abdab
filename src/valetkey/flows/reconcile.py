"""Reconcile: compare our leases with what really exists outside, both ways, target by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.ask import canonical_hash
from valetkey.core.comparison import Comparison, Difference, Known, held_targets
from valetkey.core.errors import BrokerError
from valetkey.core.facts import Fact, FactKind
from valetkey.core.ids import LeaseId, lease_id_of
from valetkey.core.lease import Lease, LeaseState
from valetkey.flows.adopt import adopt, vanish
from valetkey.flows.sweep import CLOCK
from valetkey.ports import Broker, Found, Presence, Transaction

AGAIN = timedelta(hours=1)


@dataclass(frozen=True)
class Look:
    """What was seen at one target: objects of ours that should not be, and leases without one."""

    target: str
    odd: Sequence[Found]
    missing: Sequence[Known]
    live: int


def leads(broker: Broker, duty: str, every: timedelta) -> bool:
    """Whether this replica does a duty in this turn of the database's clock; the first one does.

    Nothing is held meanwhile: should it die, another one leads the next turn.
    """
    now = broker.store.now()
    turn = int(now.timestamp() // every.total_seconds())
    return broker.store.first_use("lead", f"{duty} {turn}", now + 2 * every)


def reconcile(broker: Broker, minter_name: str, *, act_anyway: bool = False) -> Comparison:
    """Compare one minter's objects with our leases, and act unless the difference is suspicious.

    A restored backup on either side shows as a large difference: then it only reports, until a
    human asks with `act_anyway`. A target that cannot be looked at holds up no other. Replicas
    that do it at once see the same and act once.
    """
    outcome = Comparison()
    with broker.store.transaction() as tx:
        known = tx.unended_names(minter_name)
    looks = _look_everywhere(broker, minter_name, known, outcome)
    limits = broker.limits
    differences = {x.target: Difference(len(x.odd), len(x.missing), x.live) for x in looks}
    held = held_targets(differences, limits.reconcile_floor, limits.reconcile_share)
    outcome.held = {} if act_anyway else held
    _tell_of_strangers(broker, minter_name, outcome)
    _tell_what_waits(broker, minter_name, outcome)
    for look in looks:
        if look.target not in outcome.held:
            _act(broker, minter_name, look, outcome)
    return outcome


def _look_everywhere(
    broker: Broker, minter_name: str, known: Sequence[Known], outcome: Comparison
) -> list[Look]:
    """Outside any transaction, and after reading what lives."""
    minter, seen, looks = broker.minters[minter_name], dict[str, Found](), list[Look]()
    by_name = {x.name: x for x in known}
    lists: dict[str, list[Found]] = {}
    for target in minter.targets():
        try:
            lists[target] = [x for x in minter.found(target) if x.handle.name not in seen]
        except BrokerError as problem:
            outcome.problems[target] = problem.code
            continue
        seen.update({x.handle.name: x for x in lists[target]})
    for target, found in lists.items():
        live = [x for x in known if x.target == target and x.state is LeaseState.ACTIVE]
        odd = _odd(broker, [x for x in found if x.handle.name not in by_name], outcome)
        missing = [x for x in live if x.name not in seen]
        looks.append(Look(target, odd, missing, len(live)))
    outcome.seen = len(seen)
    lived = {x.target for x in known if x.state is LeaseState.ACTIVE}
    looked = lists.keys() | outcome.problems.keys()
    outcome.unlooked = sorted(lived - looked) if looked else []
    return looks


def _odd(broker: Broker, found: Sequence[Found], outcome: Comparison) -> list[Found]:
    """What is out there for a lease that has ended, or for none; strangers are only noted."""
    if not found:
        return []
    with broker.store.transaction() as tx:
        behind = leases_behind(tx, found)
    odd = []
    for one in found:
        lease = behind[one.handle.name]
        if lease is None and one.installation != broker.installation:
            outcome.foreign.append(one.handle.name)
        elif lease is None or lease.state is LeaseState.ENDED:
            odd.append(one)
    return odd


def leases_behind(tx: Transaction, found: Sequence[Found]) -> Mapping[str, Known | None]:
    """By the names of objects, the lease of each; None where nobody knows of one.

    Whoever has our logins at the back end may borrow the mark of a lease that lives, for a role of
    another scope. Such a role has another name than that lease's, and gets a lease of its own.
    """
    ids = {LeaseId(x) for one in found for x in (one.lease_id, lease_id_of(one.handle.name))}
    known = {x.name: x for x in tx.names_of(sorted(ids))}
    return {one.handle.name: known.get(one.handle.name) for one in found}


def _tell_of_strangers(broker: Broker, minter_name: str, outcome: Comparison) -> None:
    outcome.foreign.sort()
    if outcome.foreign:
        _tell(broker, FactKind.FOREIGN_MARK_SEEN, minter_name, {"names": outcome.foreign[:50]})


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
    if not look.odd:
        return []
    try:
        there = {x.handle.name for x in broker.minters[minter_name].found(look.target)}
    except BrokerError:
        return []
    return [found for found in look.odd if found.handle.name in there]


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
