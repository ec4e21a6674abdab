"""Doctor: look for broken invariants in the database and the back ends; changes nothing.

The names I1 to I20 are those of the reliability reference, listed in `docs/operations.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from valetkey.core.comparison import Known
from valetkey.core.errors import BrokerError
from valetkey.core.facts import HistoryQuery
from valetkey.core.kill import VENDOR, Kill, Reach, stops
from valetkey.core.lease import LIVE, Lease, LeaseState
from valetkey.core.task import TaskState
from valetkey.flows.reconcile import leases_behind
from valetkey.ports import Broker, Found, Transaction

CHECKED = ("I1", "I2", "I4", "I6", "I7", "I8", "I9", "I12", "I18")


@dataclass(frozen=True)
class Violation:
    """One broken invariant, and what breaks it."""

    invariant: str
    about: str
    detail: str


def doctor(broker: Broker) -> list[Violation]:
    """Every violation found; empty means well. Safe to run in production."""
    found: list[Violation] = []
    with broker.store.transaction() as tx:
        now = tx.now()
        unended = tx.unended_leases()
        found += _by_record(broker, tx, unended, now)
    for name in broker.minters:
        found += _by_looking(broker, name, now)
    return found


def _by_record(
    broker: Broker, tx: Transaction, unended: Sequence[Lease], now: datetime
) -> Iterator[Violation]:
    kills = tx.kills_in_force()
    late = now - _moment(broker)
    for lease in unended:
        yield from _overrun(tx, lease, late)
        yield from _under_kill(tx, kills, lease, late)
        yield from _forgotten(broker, lease, now)
        yield from _untold(tx, lease)
    living = Counter(lease.grant_id for lease in unended if lease.state in LIVE and lease.grant_id)
    for grant_id, count in living.items():
        if count > 1:
            yield Violation("I6", grant_id, f"{count} live leases under one grant")


def _overrun(tx: Transaction, lease: Lease, late: datetime) -> Iterator[Violation]:
    """I7: nothing lives in an ended task. I18: nothing lives longer than we wrote down."""
    task = tx.task(lease.task_id) if lease.task_id else None
    if task is not None and task.state is TaskState.ENDED and lease.state in LIVE:
        yield Violation("I7", lease.id, "lives although its task has ended")
    if lease.state is LeaseState.ACTIVE and lease.expires_at < late:
        yield Violation("I2", lease.id, "is active past its end")
    if lease.state is LeaseState.ACTIVE and lease.expires_at > lease.backend_expires_at:
        yield Violation("I18", lease.id, "would be acted on after its end at the back end")


def _under_kill(
    tx: Transaction, kills: Sequence[Kill], lease: Lease, late: datetime
) -> Iterator[Violation]:
    """I8: nothing is active under a kill in force."""
    if not kills or lease.state not in LIVE:
        return
    reach = _reach(tx, lease)
    for kill in kills:
        if stops(kill, reach) and kill.at < late:
            yield Violation("I8", lease.id, f"lives under kill {kill.id}")


def _reach(tx: Transaction, lease: Lease) -> Reach:
    agent = tx.agent(lease.agent_id) if lease.agent_id else None
    task = tx.task(lease.task_id) if lease.task_id else None
    return Reach(
        agent_id=lease.agent_id,
        task_id=lease.task_id,
        target=lease.target,
        lease_id=lease.id,
        owner=lease.owner,
        vendor=agent.labels.get(VENDOR) if agent else None,
        issuer=task.issuer if task else None,
        scope=lease.scope,
    )


def _forgotten(broker: Broker, lease: Lease, now: datetime) -> Iterator[Violation]:
    """I12: whatever must end is due soon, or at an instant it is known to wait for."""
    patience = broker.patience
    soon = now + patience.longest_retry + patience.claim
    latest = max(soon, lease.second_tap_at, lease.backend_expires_at)
    if lease.due_at is None or lease.due_at > latest:
        yield Violation("I12", lease.id, "will not be looked at in time")


def _untold(tx: Transaction, lease: Lease) -> Iterator[Violation]:
    """I9: the newest fact that tells of a lease tells the state it is in."""
    told = [
        recorded.fact.body["state"]
        for recorded in tx.history(HistoryQuery(lease_id=lease.id, limit=5))
        if "state" in recorded.fact.body
    ]
    if not told or told[0] != lease.state.value:
        yield Violation("I9", lease.id, "history does not tell its present state")


def _by_looking(broker: Broker, minter: str, now: datetime) -> Iterator[Violation]:
    """I1, I2 and I4: what is out there has a living row, and is not past its end."""
    for target in broker.minters[minter].targets():
        try:
            yield from _at_target(broker, minter, target, now)
        except BrokerError as problem:
            yield Violation("I1", target, f"could not be looked at: {problem.code}")


def _at_target(broker: Broker, minter: str, target: str, now: datetime) -> list[Violation]:
    suspects = _by_one_look(broker, minter, target, now)
    there = {x.handle.name for x in broker.minters[minter].found(target)} if suspects else set()
    # What is not there any more was only ended while we looked.
    return [violation for found, violation in suspects if found.handle.name in there]


def _by_one_look(
    broker: Broker, minter: str, target: str, now: datetime
) -> list[tuple[Found, Violation]]:
    found = list(broker.minters[minter].found(target))
    with broker.store.transaction() as tx:
        behind = leases_behind(tx, found)
    return [
        (one, violation)
        for one in found
        if behind[one.handle.name] or one.installation == broker.installation
        for violation in _astray(broker, one, behind[one.handle.name], now)
    ]


def _astray(
    broker: Broker, found: Found, lease: Known | None, now: datetime
) -> Iterator[Violation]:
    if lease is None:
        yield Violation("I1", found.handle.name, "exists outside and has no lease")
    elif lease.state is LeaseState.ENDED:
        yield Violation("I4", lease.lease_id, "ended by our record, and exists outside")
    elif now > lease.backend_expires_at + _moment(broker):
        yield Violation("I2", lease.lease_id, "exists outside past its end")


def _moment(broker: Broker) -> timedelta:
    """What a sweep may take: a tick, a claim and one call."""
    return broker.patience.claim + timedelta(seconds=10)
