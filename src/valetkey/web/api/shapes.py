"""Core values as the JSON that `/v1` answers with; `schemas` says the same to readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from valetkey.core.agent import Binding
from valetkey.core.catalogue import CataloguedScope, Parameter
from valetkey.core.facts import RecordedFact
from valetkey.core.grant import GrantState
from valetkey.core.lease import Lease, Proof
from valetkey.core.proposal import agent_digest
from valetkey.core.task import Task
from valetkey.flows.approve import fresh_name
from valetkey.flows.drill_kill import Drill
from valetkey.flows.end_task import Receipt
from valetkey.flows.explain import Explanation
from valetkey.flows.kill import KillProgress
from valetkey.flows.look import Branch, Lineage, SeenAgent, SeenGrant
from valetkey.flows.verdicts import Sealed
from valetkey.ports import Broker

Json = dict[str, Any]
NAMED = 100


def agent(seen: SeenAgent) -> Json:
    """An agent with its bindings."""
    one = seen.agent
    return {
        "id": one.id,
        "name": one.name,
        "owner": one.owner,
        "team": one.team,
        "environment": one.environment,
        "labels": dict(one.labels),
        "boundary": [str(scope) for scope in one.boundary],
        "state": one.state.value,
        "created_by": one.created_by,
        "created_by_rule": one.created_by_rule,
        "created_at": _at(one.created_at),
        "accepted_at": _at(one.accepted_at),
        "bindings": [binding(bound) for bound in seen.bindings],
        "digest": agent_digest(one, seen.bindings),
    }


def binding(bound: Binding) -> Json:
    """One workload identity of an agent."""
    return {
        "id": bound.id,
        "issuer": bound.issuer,
        "claims": dict(bound.claims),
        "created_by": bound.created_by,
    }


def task(one: Task) -> Json:
    """A task; its receipt's id once it has ended."""
    return {
        "id": one.id,
        "agent_id": one.agent_id,
        "owner": one.owner,
        "purpose": one.purpose,
        "scopes": [str(scope) for scope in one.scopes],
        "state": one.state.value,
        "started_at": _at(one.started_at),
        "deadline_at": _at(one.deadline_at),
        "ended_at": _at(one.ended_at),
        "end_reason": one.end_reason,
        "receipt_id": one.receipt_id if one.ended_at else None,
        "heartbeat": _seconds(one.heartbeat) if one.heartbeat else None,
        "silent_at": _at(one.silent_at),
        "fence": one.beat_fence if one.heartbeat else None,
        "parent": one.parent_id,
        "depth": one.depth,
        "taken": bool(one.starter_jkt),
        "max_credentials": one.max_credentials,
        "on_behalf_of": one.on_behalf_of,
        "delegation": one.delegation_id,
    }


def tree(branch: Branch) -> Json:
    """A task, its credentials, and the same of each task that was opened under it."""
    return {
        "task": task(branch.task),
        "agent": branch.agent,
        "leases": [lease(one) for one in branch.leases],
        "children": [tree(child) for child in branch.children],
    }


def revoked(one: Lease | None) -> Json:
    """A lease that was told to end by its token, claiming no more than its end can prove."""
    if one is None:
        return {}
    told = lease(one)
    names = ("state", "end_class", "still_valid_until")
    return {"lease": one.id, **{name: told[name] for name in names}}


def lease(one: Lease) -> Json:
    """A lease; times in whole seconds, `still_valid_until` null once its end is proven."""
    return {
        "id": one.id,
        "state": one.state.value,
        "scope": one.scope,
        "target": one.target,
        "task": one.task_id,
        "grant": one.grant_id,
        "agent_id": one.agent_id,
        "owner": one.owner,
        "requested_ttl": _seconds(one.requested_ttl),
        "granted_ttl": _seconds(one.granted_ttl),
        "cut_by": one.cut_by,
        "expires_at": _at(one.expires_at),
        "backend_expires_at": _at(one.backend_expires_at),
        "fenced_at": _at(one.fenced_at),
        "denied_at": _at(one.denied_at),
        "denied_how": one.denied_how.value if one.denied_how else None,
        "still_valid_until": _at(one.still_valid_until),
        "end_class": one.end_class.value,
        "reason": one.end_reason,
        "proof": one.proof.value if one.proof else None,
        "ended_at": _at(one.ended_at),
        "tries": one.tries,
        "problem": one.last_error,
        "renew_by": _at(one.renew_by),
        "renewable_until": _at(one.renewable_until),
        "renewals": one.renewals,
        "ack_by": _at(one.ack_by),
        "acknowledged_at": _at(one.acknowledged_at),
        "written_off_by": one.written_off_by,
        "written_off_reason": one.written_off_reason,
    }


def sealed(one: Sealed) -> Json:
    """A lease, and its credential as ciphertext."""
    return {"lease": lease(one.lease), "sealed": one.sealed}


def grant(seen: SeenGrant) -> Json:
    """A grant with its verdicts, and what a login to approve it must be made for."""
    one = seen.grant
    waits = one.state is GrantState.WAITING
    return {
        "id": one.id,
        "state": one.state.value,
        "scope": one.scope,
        "task": one.task_id,
        "agent_id": one.agent_id,
        "requested_ttl": _seconds(one.requested_ttl),
        "granted_ttl": _seconds(one.granted_ttl),
        "renewable_for": _maybe(one.renewable_for),
        "cut_by": one.cut_by,
        "needs": needs(one.needs),
        "waits_until": _at(one.waits_until),
        "shown": dict(one.shown) if one.shown is not None else None,
        "shown_hash": one.shown_hash,
        "fresh_for": fresh_name(one) if waits else None,
        "lease": one.lease_id,
        "decision_id": one.decision_id,
        "approvals": [
            {"approver": verdict.approver, "verdict": verdict.verdict, "at": _at(verdict.at)}
            for verdict in seen.approvals
        ],
    }


def needs(wanted: Iterable[tuple[str, int]]) -> list[Json]:
    """Whose approval is waited for."""
    return [{"group": group, "count": count} for group, count in wanted]


def receipt(one: Receipt) -> Json:
    """Every credential of an ended task, with its state and proof."""
    return {
        "id": one.id,
        "task": one.task_id,
        "ended_at": _at(one.ended_at),
        "reason": one.end_reason,
        "status": "complete" if one.complete else "settling",
        "leases": [lease(held) for held in one.leases],
    }


def kill(progress: KillProgress) -> Json:
    """A kill and how far it is; what cannot be cut before its own end is named."""
    ordered, last = progress.kill, progress.last_proof_at
    return {
        "id": ordered.id,
        "height": ordered.height.value,
        "subject": ordered.subject,
        "reason": ordered.reason,
        "by": ordered.by,
        "at": _at(ordered.at),
        "released_at": _at(ordered.released_at),
        "released_by": ordered.released_by,
        "unended": len(progress.unended),
        "ended": progress.ended,
        "states": _counted(held.state.value for held in progress.unended),
        "last_proof_at": _at(last),
        "seconds_to_last_proof": (last - ordered.at).total_seconds() if last else None,
        "expected_seconds": progress.expected.seconds,
        **_uncuttable(progress.unended),
        "denied": sum(held.denied_at is not None for held in progress.unended),
    }


def drill(one: Drill) -> Json:
    """What a kill would do."""
    return {
        "drill": True,
        "height": one.height.value,
        "subject": one.subject,
        "would_end": len(one.would_end),
        "targets": _counted(held.target for held in one.would_end),
        "expected_seconds": one.expected.seconds,
        "based_on_ends": one.expected.based_on,
        **_uncuttable(one.would_end),
    }


def _uncuttable(leases: Iterable[Lease]) -> Json:
    """What cannot be cut before its own end: those that last longest, and until when."""
    found = [held for held in leases if held.end_class is Proof.EXPIRED]
    found.sort(key=lambda held: held.backend_expires_at, reverse=True)
    return {
        "cannot_be_cut": [
            {
                "lease": held.id,
                "fenced_at": _at(held.fenced_at),
                "denied_at": _at(held.denied_at),
                "still_valid_until": _at(held.still_valid_until),
            }
            for held in found[:NAMED]
        ],
        "cannot_be_cut_until": _at(found[0].still_valid_until) if found else None,
    }


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def explanation(one: Explanation, asked: timedelta) -> Json:
    """The decision that a request would get now."""
    decision = one.decision
    return {
        "outcome": decision.outcome.value,
        "rules": list(decision.rules),
        "policy_hash": decision.policy_hash,
        "catalogue_digest": decision.catalogue_digest,
        "needs": needs(decision.needs),
        "requested_ttl": _seconds(asked),
        "granted_ttl": _seconds(one.ttl.ttl),
        "renewable_for": _maybe(one.life),
        "cut_by": one.ttl.cut_by,
        "problem": decision.problem,
        "nearest": one.nearest.told() if one.nearest else None,
        "sealed": one.sealed,
    }


def fact(entry: RecordedFact) -> Json:
    """One entry of history."""
    one = entry.fact
    return {
        "number": entry.number,
        "at": _at(entry.at),
        "kind": one.kind.value,
        "by": one.by,
        "outcome": one.outcome,
        "agent_id": one.agent_id,
        "owner": one.owner,
        "task_id": one.task_id,
        "grant_id": one.grant_id,
        "lease_id": one.lease_id,
        "target": one.target,
        "decision_id": one.decision_id,
        "body": dict(one.body),
    }


def lineage(one: Lineage) -> Json:
    """Where a lease comes from, in one answer."""
    seen = grant(one.grant) if one.grant else None
    decision = dict(one.decision) if one.decision else None
    if decision is not None and isinstance(at := decision.get("at"), datetime):
        decision["at"] = at.isoformat()
    return {
        "lease": lease(one.lease),
        "grant": seen,
        "task": task(one.task) if one.task else None,
        "agent": agent(one.agent) if one.agent else None,
        "decision": decision,
        "approvals": seen["approvals"] if seen else [],
        "facts": [fact(entry) for entry in one.facts],
    }


def catalogue(broker: Broker, digest: str, offered: list[CataloguedScope]) -> Json:
    """Targets with their scopes, as far as they are offered."""
    targets: dict[str, Json] = {}
    for wanted in offered:
        target = wanted.target
        entry = targets.setdefault(
            target.name,
            {
                "name": target.name,
                "environment": target.environment,
                "data_classes": list(target.data_classes),
                "owner": target.owner,
                "scopes": [],
            },
        )
        entry["scopes"].append(_scope(broker, wanted))
    return {"digest": digest, "targets": list(targets.values())}


def _scope(broker: Broker, wanted: CataloguedScope) -> Json:
    definition = wanted.definition
    minter = broker.minters.get(wanted.target.minter)
    return {
        "name": definition.name,
        "summary": definition.summary,
        "mutates": definition.mutates,
        "parameters": [_parameter(one) for one in definition.parameters],
        "max_ttl": _seconds(definition.max_ttl),
        "max_life": _maybe(definition.max_life),
        "ack_within": _maybe(definition.ack_within),
        "sealed": definition.sealed,
        "end_class": minter.end_class(wanted).value if minter else None,
    }


def _parameter(one: Parameter) -> Json:
    shape: Json = {"name": one.name, "kind": one.kind}
    if one.kind == "enum":
        shape["values"] = list(one.values)
    if one.kind == "integer":
        shape.update(minimum=one.minimum, maximum=one.maximum)
    return shape


def _maybe(duration: timedelta | None) -> int | None:
    return _seconds(duration) if duration is not None else None


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def _at(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
