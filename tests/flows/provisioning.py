"""Words for stories of provisioning: a job, its rule, and what its files want."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from valetkey.core.agent import Agent
from valetkey.core.principal import Caller, Principal
from valetkey.core.proposal import Proposal
from valetkey.core.scope import Scope
from valetkey.core.trust import Allowance, TrustRule
from valetkey.flows.agents import NewAgent, NewBinding, accept_agent, register_agent
from valetkey.flows.proposals import SeenProposal, accept_proposal, fresh_name
from valetkey.flows.provision import Planned, Provisioned, Wish, plan_agents, provision_agent
from valetkey.testing.brokers import EPOCH, Stage

READ, READ_EU = Scope("orders-db", "read"), Scope.parse("orders-db:read{region=eu}")
READER = NewBinding("cluster", (("sub", "system:serviceaccount:refunds:reader"),))
SECOND = NewBinding("cluster", (("sub", "system:serviceaccount:refunds:second"),))
RULE = TrustRule(
    name="readers-ci",
    issuer="https://ci",
    match={"repository_id": "1", "repository_owner_id": "2", "environment": "production"},
    allows=Allowance(
        name_prefix="refund-",
        owners=frozenset({"olivia@example.com"}),
        teams=frozenset({"refunds", "returns"}),
        labels={"vendor": frozenset({"acme", "other"})},
        ceiling=(READ,),
        may_bind=frozenset({"cluster"}),
    ),
)
RULES = {RULE.name: RULE}
JOB = Caller(
    kind="ci",
    principal=Principal("https://ci", "repo:refunds"),
    jkt="ci-key",
    expires_at=EPOCH + timedelta(days=1),
    token_id="t",
    rule=RULE.name,
)
FILE = NewAgent("refund-reader", "olivia@example.com", "refunds", {}, (READ_EU,), (READER,))


def reader(stage: Stage, file: NewAgent = FILE) -> Agent:
    """An agent that the job made and its owner has accepted."""
    made = register_agent(stage.broker, JOB, RULE, file)
    return accept_agent(stage.broker, stage.owner, made.id)


def planned(stage: Stage, file: NewAgent) -> Planned:
    """The plan for one file."""
    return plan_agents(stage.broker, JOB, RULE, [file]).agents[0]


def applied(stage: Stage, file: NewAgent, *, prune: bool = False) -> Provisioned:
    """One file applied on the agent as it is now."""
    seen = planned(stage, file).digest or ""
    return provision_agent(stage.broker, JOB, RULE, file.name, Wish(file, seen, prune))


def proposed(stage: Stage, **changes: object) -> Proposal:
    """The proposal that a changed file made."""
    found = applied(stage, replace(FILE, **changes)).proposal  # type: ignore[arg-type]
    assert found is not None
    return found


def said_yes(stage: Stage, found: Proposal, person: Caller | None = None) -> SeenProposal:
    """A person accepts it after a fresh login."""
    fresh = stage.fresh(person or stage.owner, fresh_name(found))
    return accept_proposal(stage.broker, fresh, RULES, found.id, found.shown_hash)
