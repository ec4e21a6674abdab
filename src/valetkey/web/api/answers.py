"""What `/v1` answers with, as models for the OpenAPI document; a test holds `shapes` to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import RootModel

from valetkey.web.api.refusals import Answer as Answer
from valetkey.web.api.refusals import Nearest as Nearest
from valetkey.web.api.refusals import OAuthError as OAuthError
from valetkey.web.api.refusals import Problem as Problem

Proof = Literal["verified", "confirmed", "expired", "never_existed", "written_off"]
KillHeight = Literal[
    "lease",
    "task",
    "agent",
    "owner",
    "person",
    "vendor",
    "issuer",
    "scope",
    "target",
    "everything",
]


class Binding(Answer):
    """A workload identity of an agent."""

    id: str
    issuer: str
    claims: dict[str, str]
    created_by: str


class Agent(Answer):
    """A registered agent."""

    id: str
    name: str
    owner: str
    team: str
    environment: str
    labels: dict[str, str]
    boundary: list[str]
    state: Literal["proposed", "accepted", "disabled"]
    created_by: str
    created_by_rule: str | None
    created_at: datetime
    accepted_at: datetime | None
    bindings: list[Binding]
    digest: str


class Task(Answer):
    """A bounded piece of work."""

    id: str
    agent_id: str
    owner: str
    purpose: str
    scopes: list[str]
    state: Literal["open", "ended"]
    started_at: datetime
    deadline_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    receipt_id: str | None
    heartbeat: int | None
    silent_at: datetime | None
    fence: int | None
    parent: str | None
    depth: int
    taken: bool
    max_credentials: int | None
    on_behalf_of: str | None
    delegation: str | None


class Lease(Answer):
    """The record of a credential that is out, or was."""

    id: str
    state: Literal["minting", "active", "ending", "stuck", "ended"]
    scope: str
    target: str
    task: str | None
    grant: str | None
    agent_id: str | None
    owner: str
    requested_ttl: int
    granted_ttl: int
    cut_by: str
    expires_at: datetime
    backend_expires_at: datetime
    fenced_at: datetime | None
    denied_at: datetime | None
    denied_how: Literal["asserted", "witnessed"] | None
    still_valid_until: datetime | None
    end_class: Proof
    reason: str | None
    proof: Proof | None
    ended_at: datetime | None
    tries: int
    problem: str | None
    renew_by: datetime | None
    renewable_until: datetime | None
    renewals: int
    ack_by: datetime | None
    acknowledged_at: datetime | None
    written_off_by: str | None
    written_off_reason: str | None


class Need(Answer):
    """So many approvals of this group."""

    group: str
    count: int


class Approval(Answer):
    """A named person's verdict."""

    approver: str
    verdict: Literal["approve", "deny"]
    at: datetime


class Grant(Answer):
    """A decision made durable."""

    id: str
    state: Literal[
        "waiting", "approved", "granted", "refused", "denied", "timed_out", "withdrawn", "void"
    ]
    scope: str
    task: str
    agent_id: str
    requested_ttl: int
    granted_ttl: int
    renewable_for: int | None
    cut_by: str
    needs: list[Need]
    waits_until: datetime
    shown: dict[str, Any] | None
    shown_hash: str | None
    fresh_for: str | None
    lease: str | None
    decision_id: str
    approvals: list[Approval]


class Issued(Answer):
    """A credential, once; its members depend on its `type`."""

    lease: Lease
    credential: dict[str, Any]


class Sealed(Answer):
    """A credential as a compact JWE that only the key of its ask opens."""

    lease: Lease
    sealed: str


class HandedOver(RootModel[Issued | Sealed]):
    """A credential, once: as it is, or sealed to the key that the ask named."""


class Waiting(Answer):
    """Nothing was minted; people decide first."""

    grant: Grant


class Explanation(Answer):
    """The decision that a request would get now."""

    outcome: Literal["allow", "needs_approval", "deny"]
    rules: list[str]
    policy_hash: str
    catalogue_digest: str
    needs: list[Need]
    requested_ttl: int
    granted_ttl: int
    renewable_for: int | None
    cut_by: str
    problem: str | None
    nearest: Nearest | None
    sealed: bool


class Receipt(Answer):
    """Every credential of an ended task; states and proofs in it only move forward."""

    id: str
    task: str
    ended_at: datetime
    reason: str
    status: Literal["complete", "settling"]
    leases: list[Lease]


class Uncuttable(Answer):
    """A credential that ends only then; from `fenced_at` or `denied_at` on it is of no use."""

    lease: str
    fenced_at: datetime | None
    denied_at: datetime | None
    still_valid_until: datetime


class Kill(Answer):
    """A stop and how far it is; `cannot_be_cut` names at most 100, those that last longest."""

    id: str
    height: KillHeight
    subject: str
    reason: str
    by: str
    at: datetime
    released_at: datetime | None
    released_by: str | None
    unended: int
    ended: int
    states: dict[str, int]
    last_proof_at: datetime | None
    seconds_to_last_proof: float | None
    expected_seconds: float | None
    cannot_be_cut: list[Uncuttable]
    cannot_be_cut_until: datetime | None
    denied: int


class Kills(Answer):
    """The kills in force, newest first."""

    items: list[Kill]


class Drill(Answer):
    """What a kill would end now, and an estimate of the seconds until all is proven."""

    drill: Literal[True]
    height: KillHeight
    subject: str
    would_end: int
    targets: dict[str, int]
    expected_seconds: float | None
    based_on_ends: int
    cannot_be_cut: list[Uncuttable]
    cannot_be_cut_until: datetime | None


class Fact(Answer):
    """One entry of history; what callers wrote stands under names beginning `untrusted_`."""

    number: int
    at: datetime
    kind: str
    by: str
    outcome: str
    agent_id: str | None
    owner: str | None
    task_id: str | None
    grant_id: str | None
    lease_id: str | None
    target: str | None
    decision_id: str | None
    body: dict[str, Any]


class Lineage(Answer):
    """Where a lease comes from."""

    lease: Lease
    grant: Grant | None
    task: Task | None
    agent: Agent | None
    decision: dict[str, Any] | None
    approvals: list[Approval]
    facts: list[Fact]


class Leak(Answer):
    """The report was taken; `found` is there for operators and auditors only."""

    status: Literal["reported"]
    found: list[Lineage] | None = None


class Parameter(Answer):
    """A typed parameter of a scope."""

    name: str
    kind: Literal["enum", "identifier", "path_prefix", "integer"]
    values: list[str] | None = None
    minimum: int | None = None
    maximum: int | None = None


class OfferedScope(Answer):
    """A scope that may be asked for; `max_ttl` in seconds."""

    name: str
    summary: str
    mutates: bool
    parameters: list[Parameter]
    max_ttl: int
    max_life: int | None
    ack_within: int | None
    sealed: Literal["required"] | None
    end_class: Proof | None


class OfferedTarget(Answer):
    """A target with its scopes."""

    name: str
    environment: str
    data_classes: list[str]
    owner: str
    scopes: list[OfferedScope]


class Catalogue(Answer):
    """What may be asked for, under one content digest."""

    digest: str
    targets: list[OfferedTarget]


class Agents(Answer):
    """Agents by name."""

    items: list[Agent]


class TaskTree(Answer):
    """A task with its credentials, and the same of each task that was opened under it."""

    task: Task
    agent: str
    leases: list[Lease]
    children: list[TaskTree]


class Tasks(Answer):
    """Tasks, newest first."""

    items: list[Task]


class Grants(Answer):
    """Grants, newest first."""

    items: list[Grant]


class Leases(Answer):
    """Leases, newest first."""

    items: list[Lease]


class History(Answer):
    """A page of facts, newest first; `next` is the cursor of the page after it."""

    items: list[Fact]
    next: str | None


class Alive(Answer):
    """The process lives."""

    status: Literal["alive"]


class Ready(Answer):
    """This replica can issue."""

    status: Literal["ready"]
