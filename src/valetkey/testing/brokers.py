"""A broker made of fakes, and a stage for stories: an agent, its owner, an approver, some rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from valetkey.core.agent import Agent, AgentState, Binding
from valetkey.core.ask import Ask
from valetkey.core.catalogue import Catalogue, Parameter, ScopeDefinition, Target
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.ids import encode_id
from valetkey.core.on_behalf import Delegation, Offer
from valetkey.core.principal import Caller, Principal
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.flows.on_behalf import give_delegation
from valetkey.flows.start_task import Plan, start_task
from valetkey.identity.sealing import seal
from valetkey.ports import Broker, PolicyEngine, Store
from valetkey.testing.fake_clock import FakeClock, InlineLanes, KeptAlarms
from valetkey.testing.fake_minter import FakeMinter
from valetkey.testing.memory_store import MemoryStore

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class TablePolicy:
    """Policy as a table: by scope name, an outcome; `write` waits for one approver."""

    outcomes: dict[str, Outcome] = field(
        default_factory=lambda: {"read": Outcome.ALLOW, "write": Outcome.NEEDS_APPROVAL}
    )
    max_ttl: timedelta | None = None
    problem: str | None = None

    def decide(self, question: Question) -> Decision:
        """Look it up; an approval turns waiting into allow."""
        outcome = Outcome.ALLOW
        if question.wanted is not None:
            outcome = self.outcomes.get(question.wanted.scope.name, Outcome.DENY)
        if outcome is Outcome.NEEDS_APPROVAL and question.approvals.get("approvers", 0) >= 1:
            outcome = Outcome.ALLOW
        if self.problem is not None:
            outcome = Outcome.DENY
        return Decision(
            outcome=outcome,
            rules=("table",),
            policy_hash="table",
            catalogue_digest="catalogue",
            recorded_input={"ttl": int(question.ttl.total_seconds())},
            needs=(("approvers", 1),) if outcome is Outcome.NEEDS_APPROVAL else (),
            max_ttl=self.max_ttl,
            problem=self.problem,
        )


@dataclass
class FakeRules:
    """An active rule set that tests may replace."""

    catalogue: Catalogue
    policy: PolicyEngine


def ids() -> Callable[[str], str]:
    """Ids that count up."""
    numbers = itertools.count(1)
    return lambda kind: encode_id(kind, next(numbers).to_bytes(16, "big"))


def small_catalogue(minter: str = "fake") -> Catalogue:
    """One database-like target with a read and a write scope."""
    region = Parameter("region", "enum", ("eu", "us"))
    scopes = {
        name: ScopeDefinition(name, name == "write", timedelta(minutes=15), (region,))
        for name in ("read", "write", "drop")
    }
    target = Target("orders-db", minter, "production", "data@example.com", scopes=scopes)
    return Catalogue({"orders-db": target}, "catalogue")


def _scopes(texts: tuple[str, ...]) -> tuple[Scope, ...]:
    return tuple(map(Scope.parse, texts or ("orders-db:read", "orders-db:write")))


class Stage:
    """Everything a story needs, with names one can read; time moves by `pass_time`."""

    def __init__(self, store: Store | None = None) -> None:
        memory = MemoryStore()
        self.memory = memory
        self.minter = FakeMinter()
        self.alarms = KeptAlarms()
        self.policy = TablePolicy()
        self.rules = FakeRules(small_catalogue(), self.policy)
        self.clock = FakeClock(memory)
        self.new_id = ids()
        self.broker = Broker(
            store=store or memory,
            minters={"fake": self.minter},
            rules=lambda: self.rules,
            clock=self.clock,
            lanes=InlineLanes(),
            notifier=self.alarms,
            new_id=self.new_id,
            fingerprint=lambda part: f"print-{len(part)}",
            seal=seal,
            jitter=lambda: 0.5,
            installation=self.minter.installation,
        )
        self.agent = self._agent()
        self.bot = Caller(
            kind="agent",
            principal=Principal("https://cluster", "refund-bot"),
            jkt="bot-key",
            expires_at=EPOCH + timedelta(days=1),
            token_id="t",
            agent_id=self.agent.id,
            agent=self.agent.name,
            binding_id="binding_1",
        )
        self.owner = self.person("olivia@example.com", groups={"refunds-team"})
        self.approver = self.person("arun@example.com", groups={"approvers"})
        self.pat = self.person("pat@example.com", groups={"refunds-team"})
        self.operator = self.person("opal@example.com", roles={"operator"})

    def person(
        self, email: str, groups: set[str] | None = None, roles: set[str] | None = None
    ) -> Caller:
        """Somebody who logged in a moment ago."""
        return Caller(
            kind="person",
            principal=Principal("https://people", email),
            jkt=f"key of {email}",
            expires_at=EPOCH + timedelta(days=1),
            token_id="t",
            email=email,
            groups=frozenset(groups or ()),
            roles=frozenset(roles or ()),
            auth_time=self.broker.store.now(),
        )

    def fresh(self, person: Caller, name: str) -> Caller:
        """The same person after a login made for one object."""
        return replace(person, fresh_for=name, auth_time=self.broker.store.now())

    def start(self, *scopes: str, minutes: int = 60, on_behalf_of: str | None = None) -> Task:
        """A task of the bot, perhaps on behalf of who gave that delegation."""
        lasts = timedelta(minutes=minutes)
        plan = Plan("a refund", _scopes(scopes), lasts, on_behalf_of=on_behalf_of)
        return start_task(self.broker, self.bot, plan)

    def given(
        self, *scopes: str, minutes: int = 60, agent: str = "refund-bot", by: Caller | None = None
    ) -> Delegation:
        """What somebody, usually the person, lets an agent do for them."""
        with self.broker.store.transaction() as tx:
            to = tx.agent_named(agent)
        assert to is not None
        offer = Offer(to.id, _scopes(scopes), timedelta(minutes=minutes))
        fresh = self.fresh(by or self.pat, offer.fresh_name)
        seen = give_delegation(self.broker, fresh, agent, offer.scopes, offer.lasts)
        return seen.delegation

    def ask(self, task: Task, scope: str = "orders-db:read{region=eu}", **changes: object) -> Ask:
        """An ask for five minutes under a key of its own."""
        usual: dict[str, object] = {
            "task_id": task.id,
            "scope": Scope.parse(scope),
            "ttl": timedelta(minutes=5),
            "reason": "because",
            "idempotency_key": self.new_id("key"),
        }
        return Ask(**{**usual, **changes})  # type: ignore[arg-type]

    def pass_time(self, duration: timedelta) -> None:
        """Let time pass for everybody."""
        self.clock.wait(duration.total_seconds())

    def _agent(self) -> Agent:
        agent = Agent(
            id=self.new_id("agent"),
            name="refund-bot",
            owner="olivia@example.com",
            team="refunds",
            environment="production",
            labels={"vendor": "acme"},
            boundary=tuple(Scope("orders-db", name) for name in ("read", "write", "drop")),
            state=AgentState.ACCEPTED,
            created_by="https://ci refunds",
            created_by_rule="refunds-ci",
            created_at=EPOCH,
        )
        with self.broker.store.transaction() as tx:
            tx.add_agent(agent)
            claims = (("sub", "refund-bot"),)
            tx.add_binding(Binding("binding_1", agent.id, "cluster", claims, "ci", EPOCH))
        return agent
