"""Words that the stories share: what history holds, what is out, what a moment later brings."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from valetkey.core.ask import Ask
from valetkey.core.errors import BrokerError
from valetkey.core.facts import HistoryQuery, RecordedFact
from valetkey.core.grant import Grant
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.approve import approve, fresh_name
from valetkey.flows.request_credential import request_credential
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.testing.brokers import Stage

MOMENT = timedelta(seconds=1)
WRITE = "orders-db:write{region=eu}"


def facts(stage: Stage, **query: str) -> list[RecordedFact]:
    """History, oldest first."""
    with stage.broker.store.transaction() as tx:
        return list(tx.history(HistoryQuery(**query, limit=1000)))[::-1]  # type: ignore[arg-type]


def kinds(stage: Stage, **query: str) -> list[str]:
    """The names of the facts in history, oldest first."""
    return [recorded.fact.kind.value for recorded in facts(stage, **query)]


def leases(stage: Stage) -> list[Lease]:
    """Every lease there is, newest first."""
    with stage.broker.store.transaction() as tx:
        return list(tx.leases(None, None, None))


def lease_now(stage: Stage, lease: Lease) -> Lease:
    """A lease as it is now."""
    with stage.broker.store.transaction() as tx:
        found = tx.lease(lease.id)
    assert found is not None
    return found


def grant_now(stage: Stage, grant_id: str) -> Grant:
    """A grant as it is now."""
    with stage.broker.store.transaction() as tx:
        found = tx.grant(grant_id)
    assert found is not None
    return found


def issued(stage: Stage, ask: Ask, redeliver: str | None = None) -> Issued:
    """The credential that an ask gets at once."""
    answer = request_credential(stage.broker, stage.bot, ask, redeliver)
    assert isinstance(answer, Issued)
    return answer


def waiting(stage: Stage, task: Task, **changes: object) -> Grant:
    """A grant for a write that waits for a person."""
    answer = request_credential(stage.broker, stage.bot, stage.ask(task, WRITE, **changes))
    assert isinstance(answer, Waiting)
    return answer.grant


def approved(stage: Stage, grant: Grant, person: Caller | None = None) -> Grant:
    """The same grant after the approver said yes to what was shown."""
    fresh = stage.fresh(person or stage.approver, fresh_name(grant))
    return approve(stage.broker, fresh, grant.id, grant.shown_hash or "")


def failing_ask(stage: Stage, task: Task, **changes: object) -> Lease:
    """The lease of an ask that was refused after its lease was written."""
    with suppress(BrokerError):
        request_credential(stage.broker, stage.bot, stage.ask(task, **changes))
    return leases(stage)[0]


def sweep_until_quiet(stage: Stage, lasting: timedelta) -> None:
    """Let time pass in small steps, with a sweep at each."""
    step = timedelta(seconds=10)
    for _ in range(int(lasting / step)):
        stage.pass_time(step)
        sweep(stage.broker)
