"""Report a leak: a value in; whatever it opens ends, and who may know hears where it came from."""

from __future__ import annotations

from collections.abc import Sequence

from valetkey.core.facts import Fact, FactKind
from valetkey.core.leak import secrets_in
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.flows.look import SEES_ALL, Lineage, lineage
from valetkey.flows.revoke import mark_ending
from valetkey.flows.sweep import sweep
from valetkey.ports import Broker, Transaction


def report_leak(broker: Broker, caller: Caller, value: str) -> list[Lineage]:
    """End every lease that this value belongs to; anybody who is known may report.

    The lineage of each is told to operators and auditors, nothing to others: neither the answer
    nor its time, which is a multiple of `leak_step`, tells whether the value is one of ours. The
    value is kept nowhere; its fingerprint is.
    """
    step = broker.limits.leak_step
    until = broker.clock.deadline(step)
    try:
        return _found(broker, caller, value)
    finally:
        broker.clock.wait(until.left() % step.total_seconds() or step.total_seconds())


def _found(broker: Broker, caller: Caller, value: str) -> list[Lineage]:
    prints = _fingerprints(broker, value)
    with broker.store.transaction() as tx:
        leaked = tx.leases_of_secret(prints)
        ended = [x.id for x in _end(broker, tx, leaked, str(caller.principal))]
        for lease in leaked:
            tx.record(_fact(caller, prints, lease, ended))
        if not leaked:
            tx.record(_fact(caller, prints))
    if ended:
        sweep(broker, limit=len(ended), only=ended)
    for lease in leaked:
        about = {"lease": lease.id, "target": lease.target, "owner": lease.owner}
        broker.notifier.alarm("a credential was reported as leaked", about)
    if not caller.roles & SEES_ALL:
        return []
    return [lineage(broker, caller, lease.id) for lease in leaked]


def _fingerprints(broker: Broker, value: str) -> list[str]:
    """Under the key of today first, and under every older one that is still kept."""
    keyed = (broker.fingerprint, *broker.older_fingerprints)
    return [key(text) for key in keyed for text in secrets_in(value)]


def _end(broker: Broker, tx: Transaction, leaked: Sequence[Lease], by: str) -> list[Lease]:
    """Mark the leaked ones as ending, and those of the same tasks if that is the rule here.

    Rows are locked in the order of their ids, as everywhere, so that nobody deadlocks.
    """
    tasks = {x.task_id for x in leaked if x.task_id is not None}
    beside = [x for task_id in tasks for x in tx.leases_of_task(task_id)]
    own = {x.id for x in leaked}
    wanted = own | {x.id for x in beside if broker.limits.leak_ends_siblings}
    locked = [tx.lease(lease_id, lock=True) for lease_id in sorted(wanted)]
    there = [x for x in locked if x is not None]
    marked = mark_ending(tx, [x for x in there if x.id in own], "leaked", by)
    return marked + mark_ending(tx, [x for x in there if x.id not in own], "sibling_leaked", by)


def _fact(
    caller: Caller, prints: Sequence[str], lease: Lease | None = None, ended: Sequence[str] = ()
) -> Fact:
    """With the fingerprint that was found, or the one it would have today."""
    by = str(caller.principal)
    if lease is None:
        body: dict[str, object] = {"fingerprint": prints[0]}
        return Fact(FactKind.LEAK_REPORTED, by, "unknown", body=body)
    known = next(one for one in prints if one in lease.fingerprints)
    return Fact(
        kind=FactKind.LEAK_REPORTED,
        by=by,
        outcome="known",
        agent_id=lease.agent_id,
        owner=lease.owner,
        task_id=lease.task_id,
        grant_id=lease.grant_id,
        lease_id=lease.id,
        target=lease.target,
        body={"fingerprint": known, "state": lease.state.value, "ended": list(ended)},
    )
