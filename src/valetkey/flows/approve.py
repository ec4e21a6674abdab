"""Approve, deny or withdraw a waiting grant; and let those that waited too long time out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from valetkey.core.errors import (
    ApprovalVoid,
    ApproverNotEligible,
    NotFound,
    RoleRequired,
)
from valetkey.core.facts import Fact, FactKind
from valetkey.core.grant import Approval, Grant, GrantState, approvals_by_group
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.end_task import line
from valetkey.flows.fresh import logged_in_for
from valetkey.flows.look import sees_grant
from valetkey.flows.recording import CLOCK, grant_fact
from valetkey.ports import Broker, Transaction


def approve(broker: Broker, caller: Caller, grant_id: str, shown_hash: str) -> Grant:
    """Say yes to exactly what was shown; needs a login fresh for this grant.

    Raises FreshLoginRequired, RoleRequired, ApproverNotEligible, ApprovalVoid when the hash is
    not of what waits, AlreadyDecided, ApprovalTimedOut, NotFound.
    """
    with broker.store.transaction() as tx:
        grant, task = _waiting(tx, caller, grant_id)
        _eligible(tx, caller, grant, task)
        logged_in_for(broker, tx, caller, fresh_name(grant))
        if shown_hash != grant.shown_hash:
            raise ApprovalVoid("what you saw is not what waits now")
        said = {verdict.approver for verdict in tx.approvals(grant.id)}
        if _folded(said) & _folded({str(caller.email)}):
            return grant  # said before: nothing new happened
        _add(broker, tx, caller, grant, "approve")
        counts = approvals_by_group(grant.needs, tuple(tx.approvals(grant.id)))
        enough = all(counts[group] >= wanted for group, wanted in grant.needs)
        decided = _collectable(broker, grant, task, tx.now()) if enough else grant
        tx.save_grant(decided)
        tx.record(_by_person(FactKind.GRANT_APPROVED, decided, task, caller))
        return decided


def deny(broker: Broker, caller: Caller, grant_id: str) -> Grant:
    """Say no; a cached session may. Raises as `approve` does, but for freshness."""
    with broker.store.transaction() as tx:
        grant, task = _waiting(tx, caller, grant_id)
        _eligible(tx, caller, grant, task)
        _add(broker, tx, caller, grant, "deny")
        denied = grant.moved(GrantState.DENIED)
        tx.save_grant(denied)
        tx.record(_by_person(FactKind.GRANT_DENIED, denied, task, caller))
        return denied


def withdraw(broker: Broker, caller: Caller, grant_id: str) -> Grant:
    """Take back one's own waiting ask. Raises NotFound for others, AlreadyDecided."""
    with broker.store.transaction() as tx:
        grant, task = _waiting(tx, caller, grant_id, own=True)
        withdrawn = grant.moved(GrantState.WITHDRAWN)
        tx.save_grant(withdrawn)
        by = str(caller.principal)
        tx.record(grant_fact(FactKind.GRANT_WITHDRAWN, withdrawn, task, by, "withdrawn"))
        return withdrawn


def time_out_grants(broker: Broker) -> int:
    """Close what nobody decided in time; how many."""
    closed = 0
    with broker.store.transaction() as tx:
        now = tx.now()
        for state in (GrantState.WAITING, GrantState.APPROVED):
            for stale in tx.grants_overdue(state, now):
                task = tx.task(stale.task_id)
                tx.save_grant(stale.moved(GrantState.TIMED_OUT))
                if task is not None:
                    kind = FactKind.GRANT_TIMED_OUT
                    tx.record(grant_fact(kind, stale, task, CLOCK, "timed_out"))
                closed += 1
    return closed


def fresh_name(grant: Grant) -> str:
    """What a login must have been made for, to approve this grant (the OIDC `nonce`)."""
    return f"approve:{grant.id}:{grant.shown_hash}"


def _waiting(
    tx: Transaction, caller: Caller, grant_id: str, *, own: bool = False
) -> tuple[Grant, Task]:
    """A waiting grant, locked; whoever may not see it learns not even that it was decided."""
    grant = tx.grant(grant_id, lock=True)
    task = tx.task(grant.task_id) if grant else None
    if grant is None or task is None or not sees_grant(caller, grant, caller.email == task.owner):
        raise NotFound()
    if own and (grant.agent_id, grant.requester_jkt) != (caller.agent_id, caller.jkt):
        raise NotFound()
    grant.waits(tx.now())
    task.is_open(tx.now())
    return grant, task


def _eligible(tx: Transaction, caller: Caller, grant: Grant, task: Task) -> None:
    """Somebody of a group it waits for, who is not requester, owner, creator or binder.

    Nor of an agent above: who lets another one ask has a part in what it asks for.
    """
    if caller.auth_time is None or not caller.email:
        raise RoleRequired()
    if not caller.groups & {group for group, _ in grant.needs}:
        raise RoleRequired("you are in none of the groups this grant waits for")
    touched = {name for one in line(tx, task) for name in _behind(tx, one)}
    if _folded(touched) & _folded({caller.email, str(caller.principal)}):
        raise ApproverNotEligible()


def _behind(tx: Transaction, task: Task) -> set[str]:
    """Who owns a task, for whom it is, and whoever owns, made, changed or bound its agent."""
    bound = {binding.created_by for binding in tx.bindings(task.agent_id)}
    agent = tx.agent(task.agent_id)
    made = {agent.owner, agent.created_by, *agent.touched_by} if agent else set()
    rests_on = tx.delegation(task.delegation_id) if task.delegation_id else None
    person = {rests_on.person.principal, rests_on.person.email} if rests_on else set()
    return {task.owner} | bound | made | person


def _folded(names: set[str]) -> set[str]:
    """However they are written: one mailbox is one person."""
    return {name.casefold() for name in names}


def _collectable(broker: Broker, grant: Grant, task: Task, now: datetime) -> Grant:
    """Approved: the asker has the whole waiting time again to collect, within its task."""
    until = min(now + broker.limits.approval_wait, task.deadline_at)
    return replace(grant, state=GrantState.APPROVED, waits_until=until)


def _by_person(kind: FactKind, grant: Grant, task: Task, caller: Caller) -> Fact:
    """A fact that names the person and what they were bound to."""
    fact = grant_fact(kind, grant, task, str(caller.principal), grant.state.value)
    named = {"approver": caller.email, "shown_hash": grant.shown_hash}
    return replace(fact, body={**fact.body, **named})


def _add(broker: Broker, tx: Transaction, caller: Caller, grant: Grant, verdict: str) -> None:
    tx.add_approval(
        Approval(
            id=broker.new_id("approval"),
            grant_id=grant.id,
            approver=str(caller.email),
            groups=tuple(sorted(caller.groups)),
            verdict=verdict,
            shown_hash=grant.shown_hash or "",
            logged_in_at=caller.auth_time or tx.now(),
            at=tx.now(),
        )
    )
