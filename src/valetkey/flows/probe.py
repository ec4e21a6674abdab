"""Probe: have a credential made and ended that nobody gets, to see whether a target really works.

A back end may call itself well while an engine behind it hangs; only a credential shows. It is a
lease like any other, written before it is made and ended by the sweep, but of no agent and no task.
Both commits stand here, and between them the outside call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from valetkey.core.admission import Ceilings
from valetkey.core.ask import GrantedTtl
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.errors import BrokerError, MinterUnavailable, StoreUnavailable
from valetkey.core.facts import Fact, FactKind, HistoryQuery, RecordedFact
from valetkey.core.ids import LeaseId
from valetkey.core.kill import Reach
from valetkey.core.lease import PROBE, Lease, LeaseState
from valetkey.flows.issue import mint, tell_reappeared, withhold
from valetkey.flows.new_lease import new_lease
from valetkey.flows.recording import CLOCK, lease_fact
from valetkey.flows.sweep import settle
from valetkey.flows.verdicts import Order
from valetkey.ports import Broker, Deadline, Minted, Transaction

LIFE = timedelta(seconds=60)
AGAIN = timedelta(hours=1)
OF_A_CEILING = 0.9
"""How much of a ceiling may be taken before probes leave the rest to whoever asks."""
NOT_ENDED = "not_ended"


@dataclass(frozen=True)
class Probed:
    """What a probe came to: `problem` is an error's code or `not_ended`, None when all went well.

    `seconds` is how long it took; `changed` is False when the one before came to the same.
    """

    target: str
    problem: str | None = None
    seconds: float = 0.0
    changed: bool = False

    @property
    def outcome(self) -> str:
        """`ok` when a credential was made and ended, else `failed`."""
        return "ok" if self.problem is None else "failed"


def probed_targets(broker: Broker) -> Sequence[str]:
    """The targets whose catalogue names a probe, and whose minter is here; raises NotReady."""
    targets = broker.rules().catalogue.targets.values()
    return [x.name for x in targets if x.probe is not None and x.minter in broker.minters]


def probe(broker: Broker, target: str) -> Probed | None:
    """Have the probe of one target made and ended, and put on record what it came to.

    None when there is nothing to see: under a kill, near a ceiling, while its lane is full or the
    probe before is still on its way out. Raises StoreUnavailable, NotReady.
    """
    deadline = broker.clock.deadline(broker.patience.mint_limit)
    if target in broker.lanes.shut() and (blind := _blind(broker, target)) is not None:
        return _told(broker, blind)
    with broker.store.transaction() as tx:  # commit 1: a row that remembers
        begun = _begin(broker, tx, target, deadline)
    broker.failpoint("probe.written")
    seen = _made_and_ended(broker, begun) if isinstance(begun, Order) else begun
    if seen is None:
        return None
    took = broker.patience.mint_limit.total_seconds() - deadline.left()
    return _told(broker, replace(seen, seconds=round(took, 3)))


def last_probes(broker: Broker) -> Mapping[str, RecordedFact]:
    """What history says last of each target that is probed, if it says anything.

    Raises StoreUnavailable, NotReady.
    """
    targets = probed_targets(broker)
    if not targets:
        return {}
    with broker.store.transaction() as tx:
        found = {target: _last(tx, target) for target in targets}
    return {target: fact for target, fact in found.items() if fact is not None}


def _blind(broker: Broker, target: str) -> Probed | None:
    """Look, outside any transaction, before a lease is written at a target that is left alone.

    Its minter would look too before it asks, but by then a lease is written, and for nothing.
    """
    wanted = _wanted(broker, target)
    if wanted is None:
        return None
    minter = broker.minters[wanted.target.minter]
    try:
        minter.probe(minter.handle_for(LeaseId(broker.new_id("lease")), wanted))
    except BrokerError as problem:
        return Probed(target, problem.code)
    return None


def _wanted(broker: Broker, target: str) -> CataloguedScope | None:
    """The target's probe, if the catalogue names one."""
    catalogue = broker.rules().catalogue
    scope = catalogue.targets[target].probe if target in catalogue.targets else None
    return None if scope is None else catalogue.find(scope)


def _made_and_ended(broker: Broker, order: Order) -> Probed | None:
    """Mint, forget what was minted, and have it ended at once; None when its end is still to come.

    A target that does not end it is judged by the next probe, which finds it.
    """
    target = order.lease.target
    try:
        made = _forgotten(mint(broker, order))  # outside any transaction
    except StoreUnavailable:
        raise
    except BrokerError as problem:
        return Probed(target, problem.code)
    broker.failpoint("probe.minted")
    with broker.store.transaction() as tx:  # commit 2: it was there, and is on its way out
        lease = _withheld(tx, order.lease, made)
    tell_reappeared(broker, lease)
    settle(broker, [lease.id])
    with broker.store.transaction() as tx:
        after = tx.lease(lease.id)
    if after is None or after.state is LeaseState.ENDED:
        return Probed(target)
    return Probed(target, NOT_ENDED) if after.last_error is not None else None


@dataclass(frozen=True)
class _Made:
    """What stays of a mint that was only to be seen: how long it may live, and its reference."""

    life: timedelta
    back_ref: str


def _forgotten(minted: Minted) -> _Made:
    """The secret is not looked at, and not kept: not even as a fingerprint."""
    return _Made(minted.lifetime + minted.slack, minted.back_ref)


def _withheld(tx: Transaction, written: Lease, made: _Made) -> Lease:
    lease = tx.lease(written.id, lock=True) or written
    now = tx.now()
    return withhold(tx, lease, lease.activated(now, now + made.life, made.back_ref, ()), PROBE)


def _begin(
    broker: Broker, tx: Transaction, target: str, deadline: Deadline
) -> Order | Probed | None:
    """Write the lease, unless there is a reason not to, or none to try.

    Asking its lane comes last: of a target that is left alone that takes the trial.
    """
    tx.hold_barrier()
    wanted = _wanted(broker, target)
    if wanted is None or tx.kills_over(Reach(target=target, scope=str(wanted.scope))):
        return None
    earlier, now = tx.unended_probes(target), tx.now()
    if earlier:
        late = any(now > _should_have_ended(broker, lease) for lease in earlier)
        return Probed(target, NOT_ENDED) if late else None
    if _near_a_ceiling(broker, tx, target):
        return None
    if broker.lanes.refusal(target) is not None:
        shut = target in broker.lanes.shut()
        return Probed(target, MinterUnavailable.code) if shut else None
    return Order(_written(broker, tx, wanted), wanted, deadline)


def _should_have_ended(broker: Broker, lease: Lease) -> datetime:
    """When a probe's lease that has not ended is a sign: its mint may no longer be in flight."""
    return max(lease.second_tap_at, lease.ending_since or lease.mint_until) + broker.patience.claim


def _near_a_ceiling(broker: Broker, tx: Transaction, target: str) -> bool:
    ceilings = broker.limits.ceilings
    if ceilings is None:
        return False
    here, in_all = (int(OF_A_CEILING * x) for x in (ceilings.target, ceilings.everything))
    near = Ceilings(ceilings.task, ceilings.agent, target=here, everything=in_all)
    return tx.ceiling_reached(Reach(agent_id="", task_id="", target=target), near) is not None


def _written(broker: Broker, tx: Transaction, wanted: CataloguedScope) -> Lease:
    ttl = GrantedTtl(min(LIFE, wanted.definition.max_ttl), PROBE)
    lease = replace(new_lease(broker, wanted, ttl, tx.now()), requested_ttl=LIFE)
    tx.add_lease(lease)
    tx.record(lease_fact(FactKind.LEASE_WRITTEN, lease, CLOCK))
    return lease


def _told(broker: Broker, probed: Probed) -> Probed:
    """On record when it is not as before, and once an hour while it is; an alarm when it changed.

    The first that goes well changes nothing.
    """
    with broker.store.transaction() as tx:
        last = _last(tx, probed.target)
        before = last.fact.outcome if last is not None else "ok"
        probed = replace(probed, changed=probed.outcome != before)
        if probed.changed or last is None or tx.now() - last.at >= AGAIN:
            body = {"problem": probed.problem, "seconds": probed.seconds}
            said = {key: value for key, value in body.items() if value is not None}
            told = Fact(FactKind.TARGET_PROBED, CLOCK, probed.outcome, target=probed.target)
            tx.record(replace(told, body=said))
    if probed.changed:
        works = probed.problem is None
        what = "a target's probe works again" if works else "a target's probe failed"
        about = {"target": probed.target, "problem": probed.problem or "none"}
        broker.notifier.alarm(what, about)
    return probed


def _last(tx: Transaction, target: str) -> RecordedFact | None:
    query = HistoryQuery(target=target, kind=FactKind.TARGET_PROBED.value, limit=1)
    return next(iter(tx.history(query)), None)
