"""Whole values of every kind, made relative to a store's own time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.decision import Decision, Outcome
from valetkey.core.grant import Approval, Grant, GrantState
from valetkey.core.ids import LeaseId
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import Handle, Lease, LeaseState, Proof
from valetkey.core.on_behalf import Delegation, Person
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.ports import Store, Transaction

MINUTE = timedelta(minutes=1)


class Examples:
    """Values whose instants lie around one moment of the store."""

    def __init__(self, store: Store) -> None:
        self.now: datetime = store.now()

    def agent(self, number: int = 1, **changes: Any) -> Agent:
        """A registered agent."""
        made = Agent(
            id=f"agent_{number}",
            name=f"bot-{number}",
            owner="olivia@example.com",
            team="refunds",
            environment="production",
            labels={"tier": "gold"},
            boundary=(Scope.parse("orders-db:read{region=eu}"), Scope("orders-db", "write")),
            state=AgentState.ACCEPTED,
            created_by="https://ci job",
            created_by_rule="refunds-ci",
            created_at=self.now,
            accepted_at=self.now + MINUTE,
            touched_by=("a", "b"),
        )
        return replace(made, **changes)

    def binding(self, number: int = 1, **changes: Any) -> Binding:
        """A workload identity of the first agent."""
        claims = (("ns", "refunds"), ("sub", f"bot-{number}"))
        made = Binding(f"binding_{number}", "agent_1", "cluster", claims, "ci", self.now)
        return replace(made, **changes)

    def delegation(self, number: int = 1, **changes: Any) -> Delegation:
        """What a person lets the first agent do for them, for half an hour."""
        made = Delegation(
            id=f"delegation_{number}",
            person=Person("https://people pat ü", "pat@example.com", ("refunds-team",)),
            agent_id="agent_1",
            scopes=(Scope.parse("orders-db:read{region=eu}"), Scope("orders-db", "write")),
            given_at=self.now,
            until=self.now + 30 * MINUTE,
        )
        return replace(made, **changes)

    def task(self, number: int = 1, **changes: Any) -> Task:
        """An open task of the first agent."""
        made = Task(
            id=f"task_{number}",
            agent_id="agent_1",
            owner="olivia@example.com",
            purpose='a "refund" – 100 %',
            scopes=(Scope.parse("orders-db:read"),),
            starter_jkt="jkt",
            started_at=self.now,
            deadline_at=self.now + 60 * MINUTE,
            decision_id="decision_1",
        )
        return replace(made, **changes)

    def grant(self, number: int = 1, **changes: Any) -> Grant:
        """A waiting grant of the first task."""
        made = Grant(
            id=f"grant_{number}",
            task_id="task_1",
            agent_id="agent_1",
            scope="orders-db:read{region=eu}",
            ask_hash="a" * 64,
            idempotency_key=f"key-{number}",
            state=GrantState.WAITING,
            requested_ttl=5 * MINUTE,
            granted_ttl=4 * MINUTE,
            cut_by="policy",
            requester_jkt="jkt",
            decision_id="decision_1",
            created_at=self.now,
            waits_until=self.now + 15 * MINUTE,
            reason="because",
            needs=(("approvers", 1), ("security", 2)),
            shown={"scope": "orders-db:read{region=eu}", "nested": {"list": [1, None, True]}},
            shown_hash="b" * 64,
        )
        return replace(made, **changes)

    def approval(self, number: int = 1, **changes: Any) -> Approval:
        """A yes to the first grant."""
        made = Approval(
            id=f"approval_{number}",
            grant_id="grant_1",
            approver=f"person-{number}@example.com",
            groups=("approvers", "security"),
            verdict="approve",
            shown_hash="b" * 64,
            logged_in_at=self.now - MINUTE,
            at=self.now + number * MINUTE,
        )
        return replace(made, **changes)

    def lease(self, number: int = 1, **changes: Any) -> Lease:
        """An active lease of the first grant, due in five minutes."""
        where = {"mount": "database-orders", "port": "5432"}
        made = Lease(
            id=LeaseId(f"lease_{number:04d}"),
            grant_id="grant_1",
            task_id="task_1",
            agent_id="agent_1",
            owner="olivia@example.com",
            target="orders-db",
            scope="orders-db:read{region=eu}",
            catalogue_digest="digest",
            handle=Handle("fake", "orders-db", f"vk-{number}", where),
            end_class=Proof.VERIFIED,
            state=LeaseState.ACTIVE,
            fence=1,
            requested_ttl=5 * MINUTE,
            granted_ttl=4 * MINUTE,
            cut_by="policy",
            created_at=self.now,
            mint_until=self.now + MINUTE,
            second_tap_at=self.now + 2 * MINUTE,
            due_at=self.now + 5 * MINUTE,
            expires_at=self.now + 5 * MINUTE,
            backend_expires_at=self.now + 6 * MINUTE,
            activated_at=self.now,
            back_ref="ref/1",
            fingerprints=("one", "two"),
            seen_outside=True,
        )
        return replace(made, **changes)

    def due(self, number: int, ago: int = 1, **changes: Any) -> Lease:
        """An ending lease that came due so many seconds ago."""
        at = self.now - timedelta(seconds=ago)
        return self.lease(number, state=LeaseState.ENDING, due_at=at, ending_since=at, **changes)

    def kill(self, number: int = 1, **changes: Any) -> Kill:
        """A kill of everything."""
        made = Kill(f"kill_{number}", Height.EVERYTHING, "", "odd", "somebody", self.now)
        return replace(made, **changes)

    def decision(self, **changes: Any) -> Decision:
        """A decision with everything in it."""
        made = Decision(
            outcome=Outcome.NEEDS_APPROVAL,
            rules=("rule-1", "rule-2"),
            policy_hash="p" * 64,
            catalogue_digest="digest",
            recorded_input={"context": {"ttl": 300, "list": ["a"]}},
            needs=(("approvers", 1),),
            max_ttl=5 * MINUTE,
            problem=None,
        )
        return replace(made, **changes)

    def ground(self, tx: Transaction) -> None:
        """The agent, task and grant that leases belong to."""
        tx.add_agent(self.agent())
        tx.add_task(self.task())
        tx.add_grant(self.grant())
