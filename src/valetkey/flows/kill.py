"""Kill: a barrier first, then everything that matches starts to end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from valetkey.core.errors import (
    AlreadyDecided,
    FreshLoginRequired,
    InvalidRequest,
    NotFound,
    NotReady,
    RoleRequired,
)
from valetkey.core.facts import Fact, FactKind
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import UNENDED, Lease, LeaseState
from valetkey.core.principal import Caller
from valetkey.flows.end_task import close_task
from valetkey.flows.revoke import mark_ending
from valetkey.flows.sweep import settle
from valetkey.ports import Broker, Transaction

BATCH = 200


@dataclass(frozen=True)
class KillProgress:
    """How far a kill is: what is left to end, and what cannot be cut until when."""

    kill: Kill
    unended: tuple[Lease, ...]
    ended: int


def kill(broker: Broker, caller: Caller, height: Height, subject: str, reason: str) -> Kill:
    """Stop everything at this height, now and until released.

    After the first commit no authority is created or activated there; raises RoleRequired,
    InvalidRequest, NotFound.
    """
    if "operator" not in caller.roles:
        raise RoleRequired()
    if (height is Height.EVERYTHING) != (subject == ""):
        raise InvalidRequest("name what to kill at every height but everything")
    with broker.store.transaction() as tx:
        known = _subject(broker, tx, height, subject)  # before anybody waits for us
        tx.close_barrier()
        ordered = _order(broker, tx, caller, (height, known), reason)
    broker.failpoint("kill.ordered")
    while enforce_kill(broker, ordered):
        pass
    return ordered


def enforce_kill(broker: Broker, ordered: Kill) -> int:
    """Mark one batch of what a kill covers as ending; how many. Zero means all is marked."""
    by = f"kill {ordered.id}"
    with broker.store.transaction() as tx:
        if ordered.height is Height.TASK:
            task = tx.task(ordered.subject, lock=True)
            if task is not None:
                close_task(tx, task, "killed", by)
        marked = mark_ending(tx, tx.live_leases(ordered, BATCH), "killed", by)
    return len(marked)


def enforce_kills(broker: Broker) -> int:
    """What lives under a kill in force is due: the clock's guard against a killer that died."""
    with broker.store.transaction() as tx:
        kills = tx.kills_in_force()
    return sum(enforce_kill(broker, ordered) for ordered in kills)


def kill_progress(broker: Broker, caller: Caller, kill_id: str) -> KillProgress:
    """How far a kill is. Raises NotFound, RoleRequired."""
    if not caller.roles & {"operator", "auditor"}:
        raise RoleRequired()
    with broker.store.transaction() as tx:
        ordered = tx.kill(kill_id)
        if ordered is None:
            raise NotFound()
        covered = tx.leases_under(ordered)
    unended = tuple(lease for lease in covered if lease.state in UNENDED)
    return KillProgress(ordered, unended, len(covered) - len(unended))


def kill_now(broker: Broker, ordered: Kill) -> None:
    """Work on what a kill covers at once, for a little while; the clock goes on with the rest."""
    with broker.store.transaction() as tx:
        leases = tx.leases_under(ordered)
    unended = [lease.id for lease in leases if lease.state is not LeaseState.ENDED]
    settle(broker, unended[:BATCH])


def release_kill(broker: Broker, caller: Caller, kill_id: str) -> Kill:
    """Lift a kill; needs an operator with a login fresh for it, other than who ordered it."""
    with broker.store.transaction() as tx:
        ordered = tx.kill(kill_id)
        if ordered is None:
            raise NotFound()
        if "operator" not in caller.roles:
            raise RoleRequired()
        if ordered.by == str(caller.principal):
            raise RoleRequired("another operator than the one who ordered it must release it")
        if ordered.released_at is not None:
            raise AlreadyDecided("it was released before")
        age = tx.now() - (caller.auth_time or tx.now())
        if caller.fresh_for != f"release:{kill_id}" or age > broker.limits.fresh_login:
            raise FreshLoginRequired(extra={"fresh_for": f"release:{kill_id}"})
        released = replace(ordered, released_at=tx.now(), released_by=str(caller.principal))
        tx.save_kill(released)
        tx.record(_fact(FactKind.KILL_RELEASED, released, str(caller.principal)))
    return released


def _subject(broker: Broker, tx: Transaction, height: Height, subject: str) -> str:
    """The id that a kill is kept under; an agent may be named. Raises NotFound for a stranger.

    A misspelt name must not look like a kill that worked.
    """
    if height is Height.AGENT:
        agent = tx.agent(subject) or tx.agent_named(subject)
        return agent.id if agent else _missing()
    known = (
        height is Height.EVERYTHING
        or (height is Height.TASK and tx.task(subject) is not None)
        or (height is Height.LEASE and tx.lease(subject) is not None)
        or (height is Height.TARGET and _is_target(broker, tx, subject))
    )
    return subject if known else _missing()


def _is_target(broker: Broker, tx: Transaction, name: str) -> bool:
    """In the catalogue, or something still lives under its name."""
    with suppress(NotReady):
        if name in broker.rules().catalogue.targets:
            return True
    return bool(tx.live_leases(Kill("", Height.TARGET, name, "", "", tx.now()), 1))


def _missing() -> str:
    raise NotFound()


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
