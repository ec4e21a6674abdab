"""Kill: a barrier first, then everything that matches starts to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from valetkey.core.errors import AlreadyDecided, NotFound, RoleRequired
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import Lease, LeaseState
from valetkey.core.principal import Caller
from valetkey.flows.end_task import close_task
from valetkey.flows.forecast import LAST, Forecast, forecast
from valetkey.flows.fresh import logged_in_for
from valetkey.flows.kill_subject import known_subject, may_order
from valetkey.flows.revoke import mark_ending
from valetkey.flows.sweep import settle
from valetkey.ports import Broker, Transaction

BATCH = 200


@dataclass(frozen=True)
class KillProgress:
    """How far a kill is: what is left to end, and when the last proof came or may come.

    `last_proof_at` is None while anything is left, and when there was nothing to end.
    """

    kill: Kill
    unended: tuple[Lease, ...]
    ended: int
    last_proof_at: datetime | None
    expected: Forecast


def kill(broker: Broker, caller: Caller, height: Height, subject: str, reason: str) -> Kill:
    """Stop everything at this height, now and until released.

    After the first commit no authority is created or activated there; raises RoleRequired,
    InvalidRequest, InvalidParameter, NotFound.
    """
    may_order(caller, height, subject)
    with broker.store.transaction() as tx:
        known = known_subject(broker, tx, height, subject)  # before anybody waits for us
        tx.close_barrier()
        ordered = _order(broker, tx, caller, (height, known), reason)
    broker.failpoint("kill.ordered")
    while enforce_kill(broker, ordered):
        pass
    return ordered


def enforce_kill(broker: Broker, ordered: Kill) -> int:
    """Mark one batch of what a kill covers as ending; how many. Zero means all is marked.

    The oldest come first, and are ended in that order: they have been out, and at risk, longest.
    """
    by = f"kill {ordered.id}"
    with broker.store.transaction() as tx:
        if ordered.height is Height.TASK:
            task = tx.task(ordered.subject, lock=True)
            if task is not None:
                close_task(tx, task, "killed", by)
        marked = mark_ending(tx, tx.live_leases(ordered, BATCH), "killed", by)
    return len(marked)


def enforce_kills(broker: Broker) -> int:
    """What lives under a kill in force is due: the clock's guard against a killer that died.

    One look for all kills; returns how many leases were marked, a batch of each kill.
    """
    with broker.store.transaction() as tx:
        unfinished = tx.kills_unfinished()
    return sum(enforce_kill(broker, ordered) for ordered in unfinished)


def kill_progress(broker: Broker, caller: Caller, kill_id: str) -> KillProgress:
    """How far a kill is. Raises NotFound, RoleRequired."""
    if not caller.roles & {"operator", "auditor"}:
        raise RoleRequired()
    with broker.store.transaction() as tx:
        ordered = tx.kill(kill_id)
        if ordered is None:
            raise NotFound()
        covered, ended, now = tx.leases_under(ordered), tx.recent_ends(LAST), tx.now()
    unended = tuple(lease for lease in covered if lease.state is not LeaseState.ENDED)
    ends = [lease.ended_at for lease in covered if lease.ended_at is not None]
    last = max(ends, default=None) if not unended else None
    expected = forecast(unended, ended, broker.limits.ends_at_once, now)
    return KillProgress(ordered, unended, len(covered) - len(unended), last, expected)


def kills_in_force(broker: Broker, caller: Caller) -> list[KillProgress]:
    """Every kill that is not released, and how far each is, newest first. Raises RoleRequired."""
    if not caller.roles & {"operator", "auditor"}:
        raise RoleRequired()
    with broker.store.transaction() as tx:
        kills = sorted(tx.kills_in_force(), key=lambda x: (x.at, x.id), reverse=True)
    return [kill_progress(broker, caller, ordered.id) for ordered in kills]


def kill_now(broker: Broker, ordered: Kill) -> None:
    """Work on what a kill covers at once, for a little while; the clock goes on with the rest."""
    with broker.store.transaction() as tx:
        leases = tx.leases_under(ordered)
    unended = [lease.id for lease in leases if lease.state is not LeaseState.ENDED]
    settle(broker, unended[:BATCH])


def release_kill(broker: Broker, caller: Caller, kill_id: str) -> Kill:
    """Lift a kill; needs an operator with a login fresh for it, other than who ordered it."""
    if "operator" not in caller.roles:
        raise RoleRequired()
    with broker.store.transaction() as tx:
        ordered = tx.kill(kill_id)
        if ordered is None:
            raise NotFound()
        if ordered.by == str(caller.principal):
            raise RoleRequired("another operator than the one who ordered it must release it")
        if ordered.released_at is not None:
            raise AlreadyDecided("it was released before")
        logged_in_for(broker, tx, caller, f"release:{kill_id}")
        released = replace(ordered, released_at=tx.now(), released_by=str(caller.principal))
        tx.save_kill(released)
        tx.record(_fact(FactKind.KILL_RELEASED, released, str(caller.principal)))
    return released


def _order(
    broker: Broker, tx: Transaction, caller: Caller, what: tuple[Height, str], reason: str
) -> Kill:
    by = str(caller.principal)
    ordered = Kill(broker.new_id("kill"), what[0], what[1], reason, by, tx.now())
    tx.add_kill(ordered)
    tx.record(_fact(FactKind.KILL_ORDERED, ordered, by))
    return ordered


def _fact(kind: FactKind, ordered: Kill, by: str) -> Fact:
    body = {
        "kill": ordered.id,
        "height": ordered.height.value,
        "subject": ordered.subject,
        "untrusted_reason": ordered.reason,
    }
    return Fact(kind=kind, by=by, body=body)
