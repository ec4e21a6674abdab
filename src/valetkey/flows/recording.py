"""How changes become facts: the same fields, filled from the thing that changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from valetkey.core.errors import BrokerError
from valetkey.core.facts import Fact, FactKind
from valetkey.core.grant import Grant
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.ports import Broker, Transaction

CLOCK = "clock"
"""Who did what nobody asked for: the clock, in any replica."""


def lease_fact(kind: FactKind, lease: Lease, by: str, outcome: str = "done") -> Fact:
    """A fact about a lease, with the state it left the lease in."""
    body: dict[str, object] = {
        "state": lease.state.value,
        "scope": lease.scope,
        "fence": lease.fence,
        "reason": lease.end_reason,
        "proof": lease.proof.value if lease.proof else None,
        "expires_at": lease.expires_at.isoformat(),
        "backend_expires_at": lease.backend_expires_at.isoformat(),
        "fenced_at": lease.fenced_at.isoformat() if lease.fenced_at else None,
        "denied_at": lease.denied_at.isoformat() if lease.denied_at else None,
        "renewable_for": _seconds(lease.renewable_for),
        "problem": lease.last_error,
    }
    return Fact(
        kind=kind,
        by=by,
        outcome=outcome,
        agent_id=lease.agent_id,
        owner=lease.owner,
        task_id=lease.task_id,
        grant_id=lease.grant_id,
        lease_id=lease.id,
        target=lease.target,
        body={key: value for key, value in body.items() if value is not None},
    )


def grant_fact(kind: FactKind, grant: Grant, task: Task, by: str, outcome: str) -> Fact:
    """A fact about a grant."""
    return Fact(
        kind=kind,
        by=by,
        outcome=outcome,
        agent_id=grant.agent_id,
        owner=task.owner,
        task_id=task.id,
        grant_id=grant.id,
        target=grant.scope.partition(":")[0],
        decision_id=grant.decision_id,
        body={
            "scope": grant.scope,
            "requested_ttl": int(grant.requested_ttl.total_seconds()),
            "granted_ttl": int(grant.granted_ttl.total_seconds()),
            "cut_by": grant.cut_by,
            "needs": dict(grant.needs),
            "untrusted_reason": grant.reason,
            **({"renewable_for": life} if (life := _seconds(grant.renewable_for)) else {}),
            **({"sealed_to": grant.seal_to.thumbprint} if grant.seal_to else {}),
        },
    )


def task_fact(kind: FactKind, task: Task, by: str, outcome: str = "done") -> Fact:
    """A fact about a task."""
    return Fact(
        kind=kind,
        by=by,
        outcome=outcome,
        agent_id=task.agent_id,
        owner=task.owner,
        task_id=task.id,
        decision_id=task.decision_id,
        body={
            "scopes": [str(scope) for scope in task.scopes],
            "deadline_at": task.deadline_at.isoformat(),
            "reason": task.end_reason,
            "untrusted_purpose": task.purpose,
            **({"on_behalf_of": task.on_behalf_of} if task.on_behalf_of else {}),
        },
    )


@contextmanager
def refusals_about(task_id: str) -> Iterator[None]:
    """Whatever is refused in the block is a refusal about this task."""
    try:
        yield
    except BrokerError as error:
        error.task_id = task_id
        raise


def record_refusal(broker: Broker, caller: Caller, error: BrokerError, about: str) -> None:
    """Write the one fact of an authenticated refusal that no flow has recorded yet.

    `about` is the route; raises StoreUnavailable when it cannot be written.
    """
    if error.recorded:
        return
    with broker.store.transaction() as tx:
        write_refusal(tx, caller, error, about)


def write_refusal(tx: Transaction, caller: Caller, error: BrokerError, about: str) -> None:
    """The same, in a transaction that the flow already has; the agent's owner finds it there."""
    agent = tx.agent(caller.agent_id) if caller.agent_id else None
    tx.record(
        Fact(
            kind=FactKind.REQUEST_REFUSED,
            by=str(caller.principal),
            outcome=error.code,
            agent_id=caller.agent_id,
            owner=agent.owner if agent else None,
            task_id=error.task_id,
            decision_id=error.decision_id,
            body={"about": about, **_limit(error)},
        )
    )
    error.recorded = True


def _seconds(duration: timedelta | None) -> int | None:
    return int(duration.total_seconds()) if duration is not None else None


def _limit(error: BrokerError) -> dict[str, object]:
    """Which limit was reached, if one was."""
    return {"limit": error.extra["limit"]} if "limit" in error.extra else {}
