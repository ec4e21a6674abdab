"""Rows to core values and back; nothing of SQLAlchemy leaves this room.

Words that a newer version wrote are read as strangers (`core.words`), never an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, cast

from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.decision import Decision
from valetkey.core.facts import Fact, FactKind, RecordedFact
from valetkey.core.grant import Approval, Grant, GrantState
from valetkey.core.ids import LeaseId
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import DeniedHow, Handle, Lease, LeaseState, Proof
from valetkey.core.on_behalf import Delegation, Person
from valetkey.core.scope import Scope
from valetkey.core.sealing import SealTo
from valetkey.core.task import Task, TaskState
from valetkey.core.words import read_word

Row = Mapping[str, Any]


def agent_row(agent: Agent) -> dict[str, Any]:
    """An agent as a row."""
    row = dict(vars(agent))
    row["labels"] = dict(agent.labels)
    row["boundary"] = [str(scope) for scope in agent.boundary]
    row["touched_by"] = list(agent.touched_by)
    row["state"] = agent.state.value
    return row


def agent_from(row: Row) -> Agent:
    """A row as an agent."""
    values = dict(row)
    values["boundary"] = _scopes(values["boundary"])
    values["touched_by"] = tuple(values["touched_by"])
    values["state"] = read_word(AgentState, values["state"])
    return Agent(**values)


def binding_row(binding: Binding) -> dict[str, Any]:
    """A binding as a row; the digest is what makes an identity unique."""
    row = dict(vars(binding))
    row["claims"] = [list(pair) for pair in binding.claims]
    row["claims_digest"] = hashlib.sha256(json.dumps(row["claims"]).encode()).hexdigest()
    return row


def binding_from(row: Row) -> Binding:
    """A row as a binding."""
    values = {key: value for key, value in row.items() if key != "claims_digest"}
    values["claims"] = tuple((key, value) for key, value in values["claims"])
    return Binding(**values)


def task_row(task: Task) -> dict[str, Any]:
    """A task as a row."""
    row = dict(vars(task))
    row["scopes"] = [str(scope) for scope in task.scopes]
    row["state"] = task.state.value
    row["heartbeat_seconds"] = _seconds(beat) if (beat := row.pop("heartbeat")) else None
    row["ancestors"] = list(task.ancestors)
    return row


def task_from(row: Row) -> Task:
    """A row as a task."""
    values = dict(row)
    values["scopes"] = _scopes(values["scopes"])
    values["state"] = read_word(TaskState, values["state"])
    values["ancestors"] = tuple(values["ancestors"])
    beat = values.pop("heartbeat_seconds")
    values["heartbeat"] = timedelta(seconds=beat) if beat is not None else None
    return Task(**values)


def delegation_row(delegation: Delegation) -> dict[str, Any]:
    """A delegation as a row, the person's parts beside the others."""
    row = dict(vars(delegation))
    person: Person = row.pop("person")
    row |= {"principal": person.principal, "email": person.email, "groups": list(person.groups)}
    row["scopes"] = [str(scope) for scope in delegation.scopes]
    return row


def delegation_from(row: Row) -> Delegation:
    """A row as a delegation."""
    values = dict(row)
    principal, email, groups = (values.pop(name) for name in ("principal", "email", "groups"))
    values["person"] = Person(principal, email, tuple(groups))
    values["scopes"] = _scopes(values["scopes"])
    return Delegation(**values)


def decision_row(decision_id: str, decision: Decision) -> dict[str, Any]:
    """A decision as a row, with its whole input."""
    return {
        "id": decision_id,
        "outcome": decision.outcome.value,
        "rules": list(decision.rules),
        "policy_hash": decision.policy_hash,
        "catalogue_digest": decision.catalogue_digest,
        "recorded_input": decision.recorded_input,
        "needs": [list(need) for need in decision.needs],
        "max_ttl_seconds": _seconds(decision.max_ttl) if decision.max_ttl else None,
        "problem": decision.problem,
    }


def grant_row(grant: Grant) -> dict[str, Any]:
    """A grant as a row."""
    row = _ttls_out(vars(grant))
    row["state"] = grant.state.value
    row["needs"] = [list(need) for need in grant.needs]
    row["seal_to"] = grant.seal_to.jwk() if grant.seal_to else None
    return row


def grant_from(row: Row) -> Grant:
    """A row as a grant."""
    values = _ttls_in(row)
    values["state"] = read_word(GrantState, values["state"])
    values["needs"] = tuple((group, count) for group, count in values["needs"])
    key = values["seal_to"]
    values["seal_to"] = SealTo(**key) if key is not None else None
    return Grant(**values)


def approval_row(approval: Approval) -> dict[str, Any]:
    """An approval as a row."""
    return {**vars(approval), "groups": list(approval.groups)}


def approval_from(row: Row) -> Approval:
    """A row as an approval."""
    return Approval(**{**row, "groups": tuple(row["groups"])})


def lease_row(lease: Lease) -> dict[str, Any]:
    """A lease as a row."""
    row = _ttls_out(vars(lease))
    row["minter"], row["place"] = lease.handle.minter, lease.place
    row["handle"] = {**asdict(lease.handle), "where": dict(lease.handle.where)}
    row["fingerprints"] = list(lease.fingerprints)
    row["state"] = lease.state.value
    row["end_class"] = lease.end_class.value
    row["proof"] = lease.proof.value if lease.proof else None
    row["denied_how"] = lease.denied_how.value if lease.denied_how else None
    return row


def lease_from(row: Row) -> Lease:
    """A row as a lease."""
    values = _ttls_in(row)
    del values["minter"], values["place"]
    values["id"] = LeaseId(values["id"])
    values["handle"] = _handle(values["handle"])
    values["fingerprints"] = tuple(values["fingerprints"])
    values["state"] = read_word(LeaseState, values["state"])
    values["end_class"] = read_word(Proof, values["end_class"])
    values["proof"] = read_word(Proof, values["proof"]) if values["proof"] else None
    how = values["denied_how"]
    values["denied_how"] = read_word(DeniedHow, how) if how else None
    return Lease(**values)


def kill_row(kill: Kill) -> dict[str, Any]:
    """A kill as a row."""
    return {**vars(kill), "height": kill.height.value}


def kill_from(row: Row) -> Kill:
    """A row as a kill."""
    return Kill(**{**row, "height": read_word(Height, row["height"])})


def fact_row(fact: Fact) -> dict[str, Any]:
    """A fact as a row; its number and time are the database's."""
    return {**vars(fact), "kind": fact.kind.value, "body": dict(fact.body)}


def fact_from(row: Row) -> RecordedFact:
    """A row as a recorded fact."""
    values = dict(row)
    number, at = values.pop("number"), values.pop("at")
    values["kind"] = read_word(FactKind, values["kind"])
    return RecordedFact(number, at, Fact(**values))


def _handle(written: Mapping[str, Any]) -> Handle:
    """What we know of it; a newer version may have written more, which no save of ours touches."""
    return Handle(*(written[name] for name in ("minter", "target", "name", "where")))


def _scopes(written: object) -> tuple[Scope, ...]:
    return tuple(Scope.parse(text) for text in cast("list[str]", written))


def _ttls_out(values: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(values)
    row["requested_ttl_seconds"] = _seconds(row.pop("requested_ttl"))
    row["granted_ttl_seconds"] = _seconds(row.pop("granted_ttl"))
    life = row.pop("renewable_for")
    row["renewable_for_seconds"] = None if life is None else _seconds(life)
    return row


def _ttls_in(row: Row) -> dict[str, Any]:
    values = dict(row)
    values["requested_ttl"] = timedelta(seconds=values.pop("requested_ttl_seconds"))
    values["granted_ttl"] = timedelta(seconds=values.pop("granted_ttl_seconds"))
    life = values.pop("renewable_for_seconds")
    values["renewable_for"] = None if life is None else timedelta(seconds=life)
    return values


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
