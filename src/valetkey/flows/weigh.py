"""The first transaction of a credential request: everything that decides, and what it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from valetkey.core.actors import Actors
from valetkey.core.agent import Agent
from valetkey.core.ask import Ask, GrantedTtl, canonical_hash, lowest_ttl
from valetkey.core.catalogue import CataloguedScope
from valetkey.core.decision import Decision, Outcome
from valetkey.core.delegation import Link
from valetkey.core.errors import (
    BudgetSpent,
    Killed,
    NotFound,
    NotRenewable,
    SealingRequired,
    TaskEnded,
)
from valetkey.core.facts import Fact, FactKind
from valetkey.core.grant import Grant, GrantState
from valetkey.core.kill import Reach
from valetkey.core.lease import Lease
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.admit import make_room
from valetkey.flows.deciding import (
    check_within,
    decided_for_all,
    instead_of,
    person_of,
    question_of,
    refusal_of,
    told,
)
from valetkey.flows.nearest import Nearest
from valetkey.flows.new_lease import new_lease
from valetkey.flows.recording import grant_fact, lease_fact
from valetkey.flows.verdicts import Order, Refused, Verdict, Waiting
from valetkey.ports import Broker, Deadline, Standing, Transaction


@dataclass(frozen=True)
class Before:
    """What came before an ask: yeses by group, and since when its credential has been out."""

    approvals: Mapping[str, int] = field(default_factory=dict)
    since: datetime | None = None


@dataclass(frozen=True)
class Weighed:
    """One ask, looked at from all sides at one moment; `nearest` is what a denial could be instead.

    `life` is how long in all renewals may keep it alive, counted from its activation; None for an
    ask that is not to be renewed.
    """

    now: datetime
    agent: Agent
    task: Task
    wanted: CataloguedScope
    decision: Decision
    ttl: GrantedTtl
    mint_by: Deadline
    life: timedelta | None = None
    nearest: Nearest | None = None
    line: tuple[Link, ...] = ()

    @property
    def above(self) -> tuple[Link, ...]:
        """The tasks that the ask's own was opened under, from the root down."""
        return self.line[:-1]


NOTHING_BEFORE = Before()


def weigh(
    broker: Broker,
    tx: Transaction,
    standing: Standing,
    ask: Ask,
    before: Before = NOTHING_BEFORE,
) -> Weighed:
    """Decide one ask, writing nothing. The same for `request`, `collect`, `renew` and `explain`.

    `standing` comes from `open_task` for the ask's scope, in this same transaction. Policy judges
    the longest time that may be reached, renewals included. Raises the BrokerError that says why
    there is nothing to decide.
    """
    task, agent = standing.task, standing.agent
    mint_by = broker.clock.deadline(broker.patience.mint_limit)  # never after `mint_until`
    now = tx.now()
    rules = broker.rules()
    wanted = replace(rules.catalogue.find(ask.scope), actors=_actors(standing))
    limits = [("scope", wanted.definition.max_ttl), ("task", _whole(task.deadline_at - now))]
    whole = _whole_life(broker, ask, wanted, task.deadline_at - (before.since or now))
    longest = whole or lowest_ttl(ask.ttl, limits).ttl
    question = question_of(standing, wanted, longest, now, before.approvals)
    check_within(broker, standing, question)
    if standing.kills:
        raise Killed()
    decision = decided_for_all(rules.policy, question, standing)
    nearest = instead_of(broker, standing, question, decision)
    by_policy = ("policy", decision.max_ttl)
    ttl = lowest_ttl(ask.ttl, [*limits, by_policy])
    life = lowest_ttl(whole, [by_policy]).ttl if whole is not None else None
    line = standing.line
    return Weighed(now, agent, task, wanted, decision, ttl, mint_by, life, nearest, line)


def _actors(standing: Standing) -> Actors:
    """Who acts under a task, and on whose behalf."""
    person = person_of(standing.line)
    agents = [link.agent.id for link in standing.line]
    return Actors.of(agents, person.principal if person else None)


def _whole_life(
    broker: Broker, ask: Ask, wanted: CataloguedScope, task_left: timedelta
) -> timedelta | None:
    """The longest it may live with all renewals, or None; raises NotRenewable, TaskEnded."""
    if ask.renewable_for is None:
        return None
    if not broker.minters[wanted.target.minter].renews(wanted):
        raise NotRenewable("what this target gives cannot be renewed")
    limits = [("scope", wanted.definition.longest), ("task", _whole(task_left))]
    return lowest_ttl(ask.renewable_for, limits).ttl


def open_task(
    tx: Transaction,
    caller: Caller,
    task_id: str,
    scope: str | None = None,
    lease_id: str | None = None,
) -> Standing:
    """The caller's own open task and its agent, the task held against ending meanwhile.

    Takes the kill barrier first, then looks; kills of `scope` and lease are looked at too. Raises
    NotFound, OutsideToken, TaskEnded, AgentNotAccepted, AgentDisabled.
    """
    tx.hold_barrier()
    standing = tx.standing(task_id, scope, lease_id)
    if standing is None:
        raise NotFound()
    standing.task.belongs_to(caller.agent_id, caller.jkt)
    caller.acts_for(standing.task.on_behalf_of)
    standing.holds(tx.now())
    return standing


def settle_verdict(
    broker: Broker, tx: Transaction, weighed: Weighed, ask: Ask, caller: Caller
) -> Verdict:
    """Write what the decision came to: a refusal, a waiting grant, or a lease to be minted."""
    decision = weighed.decision
    decision_id = broker.new_id("decision")
    tx.record_decision(decision_id, decision)
    grant = _grant_of(broker, weighed, ask, caller, decision_id)
    by = str(caller.principal)
    if decision.outcome is Outcome.DENY:
        error = told(refusal_of(decision, decision_id), weighed.nearest)
        grant = replace(grant, state=GrantState.REFUSED, refusal_code=error.code)
        tx.add_grant(grant)
        tx.record(grant_fact(FactKind.ASK_DENIED, grant, weighed.task, by, error.code))
        error.recorded = True
        return Refused(error)
    waits = decision.outcome is Outcome.NEEDS_APPROVAL
    if waits or ask.waits_at_most is not None:
        _sealed_as_required(weighed, grant)
        shown = what_people_see(broker, weighed, grant, caller.binding_id)
        grant = replace(grant, needs=decision.needs, shown=shown, shown_hash=canonical_hash(shown))
        grant = grant if waits else grant.moved(GrantState.APPROVED)
        tx.add_grant(grant)
        told_as = (FactKind.ASK_WAITING, "waiting") if waits else (FactKind.ASK_ALLOWED, "allow")
        tx.record(grant_fact(told_as[0], grant, weighed.task, by, told_as[1]))
        return Waiting(grant)
    grant = grant.moved(GrantState.GRANTED)
    tx.record(grant_fact(FactKind.ASK_ALLOWED, grant, weighed.task, by, "allow"))
    return write_lease(broker, tx, weighed, grant, tx.add_grant)


def write_lease(
    broker: Broker,
    tx: Transaction,
    weighed: Weighed,
    grant: Grant,
    keep: Callable[[Grant], None],
) -> Order:
    """Write the lease with its handle, before anything exists, and the grant's new generation.

    `keep` writes the grant, new or there already. Raises what `_may_be_minted` does.
    """
    _may_be_minted(broker, tx, weighed, grant)
    lease = replace(
        new_lease(broker, weighed.wanted, weighed.ttl, weighed.now),
        grant_id=grant.id,
        task_id=weighed.task.id,
        agent_id=weighed.agent.id,
        owner=weighed.task.owner,
        requested_ttl=grant.requested_ttl,
        renewable_for=weighed.life,
    )
    keep(replace(grant, lease_id=lease.id, generation=grant.generation + 1))
    tx.add_lease(lease)
    tx.record(_written(lease, grant.decision_id))
    return Order(lease, weighed.wanted, weighed.mint_by, grant.seal_to)


def _sealed_as_required(weighed: Weighed, grant: Grant) -> None:
    """Raise SealingRequired for what may be given only sealed, to a grant that names no key."""
    if weighed.wanted.definition.sealed is not None and grant.seal_to is None:
        raise SealingRequired()


def _may_be_minted(broker: Broker, tx: Transaction, weighed: Weighed, grant: Grant) -> None:
    """Raise SealingRequired for a grant without a key where one must be, RateLimited at a ceiling,
    MinterUnavailable for a target that cannot be called now, BudgetSpent when the task or one
    above it has had enough.
    """
    _sealed_as_required(weighed, grant)
    task = weighed.task
    make_room(broker, tx, Reach(weighed.agent.id, task.id, weighed.wanted.target.name))
    line = (*(link.task for link in weighed.above), task)
    limited = [one.id for one in line if one.max_credentials is not None]
    if limited and not tx.spend(limited):
        raise BudgetSpent()


def _written(lease: Lease, decision_id: str) -> Fact:
    fact = lease_fact(FactKind.LEASE_WRITTEN, lease, "issuer")
    return replace(fact, decision_id=decision_id)


def what_people_see(
    broker: Broker, weighed: Weighed, grant: Grant, binding: object
) -> dict[str, object]:
    """Everything an approver is shown and bound to, by hash; `above` from the root down."""
    target = weighed.wanted.target
    life = grant.renewable_for
    return {
        "agent": weighed.agent.name,
        "agent_id": weighed.agent.id,
        "binding": binding,
        "task": weighed.task.id,
        "owner": weighed.task.owner,
        "on_behalf_of": _whose(weighed.line),
        "scope": grant.scope,
        "granted_ttl": int(grant.granted_ttl.total_seconds()),
        **({} if life is None else {"renewable_for": int(life.total_seconds())}),
        "end_class": broker.minters[target.minter].end_class(weighed.wanted).value,
        "catalogue_digest": weighed.wanted.catalogue_digest,
        "target": target.name,
        "environment": target.environment,
        "data_classes": list(target.data_classes),
        "mutates": weighed.wanted.definition.mutates,
        "requester_key": grant.requester_jkt,
        **({"sealed_to": grant.seal_to.thumbprint} if grant.seal_to else {}),
        "untrusted_purpose": weighed.task.purpose,
        "untrusted_reason": grant.reason,
        **({"above": [_shown(link) for link in weighed.above]} if weighed.above else {}),
    }


def _whose(line: Sequence[Link]) -> dict[str, object] | None:
    """The person on whose behalf it is, as policy saw them, and what that rests on."""
    rests_on = line[0].delegation if line else None
    if rests_on is None:
        return None
    person = {**vars(rests_on.person), "groups": list(rests_on.person.groups)}
    return {**person, "delegation": rests_on.id, "source": rests_on.source}


def as_approved(broker: Broker, weighed: Weighed, grant: Grant, binding: object) -> bool:
    """Whether what people said yes to is still what would be given."""
    return canonical_hash(what_people_see(broker, weighed, grant, binding)) == grant.shown_hash


def _shown(link: Link) -> dict[str, object]:
    """One task above, as people see for whom the asker works."""
    agent, task = link.agent, link.task
    return {
        "task": task.id,
        "agent": agent.name,
        "agent_id": agent.id,
        "owner": task.owner,
        "untrusted_purpose": task.purpose,
    }


def _grant_of(
    broker: Broker, weighed: Weighed, ask: Ask, caller: Caller, decision_id: str
) -> Grant:
    return Grant(
        id=broker.new_id("grant"),
        task_id=weighed.task.id,
        agent_id=weighed.agent.id,
        scope=str(ask.scope),
        ask_hash=ask.hash,
        idempotency_key=ask.idempotency_key,
        state=GrantState.WAITING,
        requested_ttl=ask.ttl,
        granted_ttl=weighed.ttl.ttl,
        cut_by=weighed.ttl.cut_by,
        requester_jkt=caller.jkt,
        decision_id=decision_id,
        created_at=weighed.now,
        waits_until=_waits_until(broker, weighed, ask),
        reason=ask.reason,
        renewable_for=weighed.life,
        seal_to=ask.seal_to,
    )


def _waits_until(broker: Broker, weighed: Weighed, ask: Ask) -> datetime:
    """How long people have: never longer than the task, or than was asked for."""
    wait = broker.limits.approval_wait
    wait = wait if ask.waits_at_most is None else min(wait, ask.waits_at_most)
    return min(weighed.now + wait, weighed.task.deadline_at)


def _whole(duration: timedelta) -> timedelta:
    """Whole seconds, down; raises TaskEnded when less than one is left."""
    if duration < timedelta(seconds=1):
        raise TaskEnded()
    return timedelta(seconds=int(duration.total_seconds()))
