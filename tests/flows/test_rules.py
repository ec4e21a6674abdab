"""Rules in the store: pushed, proposed, accepted, refused, gone back on, and followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.provisioning import FILE, JOB, RULE
from tests.flows.rules import (
    AT_ONCE,
    GROUPS,
    OTHERS,
    PUSHER,
    PUSHES,
    SAMPLE,
    SHORTER,
    TRUSTED,
    RulesStage,
    with_text,
)
from valetkey.bootstrap.rulebook import StoredRules
from valetkey.core.agent import AgentState
from valetkey.core.ask import Ask
from valetkey.core.errors import (
    AlreadyDecided,
    ApprovalVoid,
    ChangedMeanwhile,
    FreshLoginRequired,
    InvalidRequest,
    NotFound,
    NotReady,
    OutsideTrustRule,
    RoleRequired,
    RulesFromFiles,
    RulesInvalid,
    RulesNotProven,
    UnknownScope,
    WrongDoor,
)
from valetkey.core.facts import FactKind, HistoryQuery
from valetkey.core.proposal import ProposalState
from valetkey.core.rules import Activation, Cause, RulesVersion, version_digest
from valetkey.flows.agents import register_agent
from valetkey.flows.decide_rules import (
    accept_rules,
    begin_rules,
    look_at_rules,
    look_at_version,
    refuse_rules,
    roll_back,
)
from valetkey.flows.push_rules import plan_rules, push_rules
from valetkey.flows.request_credential import request_credential
from valetkey.policy.rules import ActiveRules
from valetkey.testing.brokers import Stage
from valetkey.testing.memory_store import MemoryStore
from valetkey.testing.sim_store import SimStore


@pytest.fixture(params=[MemoryStore, SimStore])
def stage(request: pytest.FixtureRequest) -> RulesStage:
    """The sample's rules in force, in either fake store."""
    return RulesStage(request.param())


def bodies(stage: Stage, kind: FactKind) -> list[dict[str, object]]:
    """What facts of a kind say, oldest first."""
    with stage.broker.store.transaction() as tx:
        found = tx.history(HistoryQuery(kind=kind.value))
    return [dict(one.fact.body) for one in reversed(found)]


def asked(stage: RulesStage, scope: str) -> Ask:
    """A credential asked for in a task of the refunds team's agent."""
    stage.agent = replace(stage.agent, state=AgentState.ACCEPTED, labels={})
    with stage.broker.store.transaction() as tx:
        tx.save_agent(stage.agent)
    ask = stage.ask(stage.start("orders-db:read", minutes=30), scope)
    request_credential(stage.broker, stage.bot, ask)
    return ask


def test_what_a_job_pushes_waits_for_an_operator(stage: RulesStage) -> None:
    """Nothing is in force before the yes; then a replica serves it at its next look."""
    before = stage.in_force()
    pushed = stage.push(SHORTER)
    assert (pushed.activation, stage.in_force()) == (None, before)
    made = stage.accept(pushed)
    assert (made.cause, made.number, made.digest) == (Cause.ACCEPTED, 2, version_digest(SHORTER))
    assert stage.seen().serves == 1
    assert stage.active.reload()
    assert stage.seen().serves == 2
    scope = stage.broker.rules().catalogue.targets["orders-db"].scopes["read"]
    assert scope.max_ttl == timedelta(minutes=14)
    assert [x.state for x in stage.seen().proposals] == [ProposalState.ACCEPTED]


def test_a_rule_that_says_so_puts_rules_in_force_at_once(stage: RulesStage) -> None:
    """And the same push again finds nothing to do."""
    made = stage.push(SHORTER, AT_ONCE)
    assert made.activation is not None
    assert (made.activation.cause, made.proposal) == (Cause.APPLIED, None)
    again = stage.push(SHORTER, AT_ONCE)
    assert (again.activation, again.proposal) == (None, None)
    assert len(stage.seen().activations) == 2
    [begun, told] = bodies(stage, FactKind.RULES_ACTIVATED)
    assert (begun["cause"], begun["before"]) == ("begun", None)
    assert (told["version"], told["before"]) == (version_digest(SHORTER), version_digest(SAMPLE))
    assert told["changes"] == ["changed scope orders-db:read"]


@pytest.mark.parametrize("part", ["catalogue", "policies"])
def test_a_rule_brings_only_the_parts_that_it_may(stage: RulesStage, part: str) -> None:
    """Neither a job for agents, nor one for the other part, whatever else it brings."""
    other = {"catalogue": "policies", "policies": "catalogue"}[part]
    one = {name: text for name, text in SHORTER.items() if name.startswith(part)}
    for rule in (RULE, replace(PUSHES, may_apply=frozenset({other}))):
        with pytest.raises(OutsideTrustRule, match=f"does not apply {part}"):
            stage.plan(one, rule)
        with pytest.raises(OutsideTrustRule):
            stage.push(one, rule)
    stage.plan(one, replace(PUSHES, may_apply=frozenset({part})))
    with pytest.raises(WrongDoor):
        plan_rules(stage.broker, stage.operator, None, one)


def test_a_rule_for_rules_makes_no_agents(stage: RulesStage) -> None:
    """Unless it says both."""
    with pytest.raises(OutsideTrustRule, match="does not apply agents"):
        register_agent(stage.broker, JOB, PUSHES, FILE)
    register_agent(
        stage.broker, JOB, replace(PUSHES, may_apply=PUSHES.may_apply | {"agents"}), FILE
    )


def test_the_part_that_is_not_pushed_stays(stage: RulesStage) -> None:
    """A version is whole: the catalogue that was pushed, and the policies that were there."""
    catalogue = {name: text for name, text in SHORTER.items() if name.startswith("catalogue/")}
    assert stage.push(catalogue, AT_ONCE).version == version_digest(SHORTER)
    del catalogue["catalogue/archive-api.yaml"]
    less = stage.push(catalogue, AT_ONCE).version
    kept = look_at_version(stage.broker, stage.operator, less).version.files
    assert kept.keys() == SAMPLE.keys() - {"catalogue/archive-api.yaml"}


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("catalogue/orders-db.yaml", "max_ttl: 15m", "max_tll: 15m", "unknown key 'max_tll'"),
        ("policies/refunds.cedar", "permit (", "permitt (", "is not Cedar"),
        ("policies/refunds.cedar", "principal.team", "principal.temm", "refunds-read"),
        (
            "policies/tests/refunds.yaml",
            "expect: deny",
            "expect: allow",
            "expected allow, got deny",
        ),
    ],
)
def test_a_version_with_any_fault_is_neither_proposed_nor_in_force(
    stage: RulesStage, name: str, old: str, new: str, told: str
) -> None:
    """Syntax, schema, and its own policy tests, told with file and line."""
    for call in (stage.plan, stage.push):
        with pytest.raises(RulesInvalid) as wrong:
            call(with_text(name, old, new), AT_ONCE)
        listed = wrong.value.extra["problems"]
        assert any(told in x["message"] and x["file"] == name and x["line"] for x in listed), listed
    assert len(stage.seen().activations) == 1
    assert not stage.seen().proposals


@pytest.mark.parametrize(
    "name",
    [
        "agents/refund-bot.yaml",
        "catalogue/../policies/a.cedar",
        "catalogue/.hidden.yaml",
        "catalogue/a.yml",
        "policies/deep/er/a.cedar",
        "/catalogue/a.yaml",
        "catalogue/ａ.yaml",
        "policies/tests/a.yaml\n",
        "catalogue/" + "a" * 200 + ".yaml",
    ],
)
def test_a_name_that_is_no_files_is_refused(stage: RulesStage, name: str) -> None:
    """By its form alone, and not echoed."""
    with pytest.raises(InvalidRequest) as wrong:
        stage.plan({**SAMPLE, name: "x"})
    assert name not in wrong.value.detail


def test_too_much_is_refused_before_it_is_read(stage: RulesStage) -> None:
    """Files, bytes in all, and characters that nobody sees."""
    many = {f"catalogue/a{number}.yaml": "x" for number in range(201)}
    for files in (many, {"catalogue/a.yaml": "ä" * 300_000}, {"catalogue/a.yaml": "a\r\nb"}, {}):
        with pytest.raises(InvalidRequest):
            stage.plan(files)


def test_what_is_not_pinned_does_not_come_into_force(stage: RulesStage) -> None:
    """It may be proposed, and is held to the gate when it is accepted; the plan tells of it."""
    stage.unpinned = {"orders-db": "its pins are not at OpenBao"}
    assert stage.plan(SHORTER).unproven == (("orders-db", "its pins are not at OpenBao"),)
    with pytest.raises(RulesNotProven, match="its pins"):
        stage.push(SHORTER, AT_ONCE)
    pushed = stage.push(SHORTER)
    with pytest.raises(RulesNotProven):
        stage.accept(pushed)
    assert len(stage.seen().activations) == 1
    stage.unpinned = {}
    assert stage.accept(pushed).number == 2


def test_a_replica_keeps_what_it_serves_while_it_cannot_prove_the_new(stage: RulesStage) -> None:
    """And says why; its number is the older one."""
    stage.push(SHORTER, AT_ONCE)
    stage.unpinned = {"orders-db": "its pins are not at OpenBao"}
    assert not stage.active.reload()
    assert "its pins" in str(stage.active.problems[0])
    assert stage.seen().serves == 1
    stage.unpinned = {}
    assert stage.active.reload()
    assert (stage.seen().serves, stage.active.problems) == (2, ())


def test_only_a_fresh_login_for_just_this_accepts(stage: RulesStage) -> None:
    """An operator's, no older than the limit; nobody else's, and no other hash."""
    pushed = stage.push(SHORTER)
    found = pushed.proposal
    assert found is not None
    accept: Callable[..., object] = lambda who, shown=found.shown_hash: accept_rules(  # noqa: E731
        stage.broker, who, TRUSTED, found.id, shown
    )
    with pytest.raises(FreshLoginRequired) as told:
        accept(stage.operator)
    fresh = stage.fresh(stage.operator, told.value.extra["fresh_for"])
    with pytest.raises(FreshLoginRequired):
        accept(replace(fresh, fresh_for=f"widen:{found.id}:{found.shown_hash}"))
    with pytest.raises(FreshLoginRequired):
        accept(replace(fresh, auth_time=stage.broker.store.now() - timedelta(hours=1)))
    with pytest.raises(RoleRequired):
        accept(replace(fresh, roles=frozenset({"auditor"})))
    with pytest.raises(NotFound):
        accept(replace(fresh, roles=frozenset()))
    with pytest.raises(ApprovalVoid):
        accept(fresh, "0" * 64)
    accept(fresh)
    with pytest.raises(AlreadyDecided):
        accept(fresh)


def test_a_yes_is_void_when_other_rules_came_into_force(stage: RulesStage) -> None:
    """The next push proposes anew, on what is in force then."""
    first = stage.push(SHORTER)
    stage.push(OTHERS, AT_ONCE)
    with pytest.raises(ApprovalVoid):
        stage.accept(first)
    second = stage.push(SHORTER)
    assert second.proposal is not None
    assert second.proposal.base == version_digest(OTHERS)
    states = {x.id: x.state for x in stage.seen().proposals}
    assert first.proposal is not None
    assert states[first.proposal.id] is ProposalState.SUPERSEDED


def test_a_yes_is_held_to_the_trust_rule_of_that_moment(stage: RulesStage) -> None:
    """Gone, or without that part: nothing comes into force."""
    found = stage.push(SHORTER).proposal
    assert found is not None
    fresh = stage.fresh(stage.operator, f"rules:{found.id}:{found.shown_hash}")
    less = replace(PUSHES, may_apply=frozenset({"policies"}))
    for rules in ({}, {PUSHES.name: less}):
        with pytest.raises(OutsideTrustRule):
            accept_rules(stage.broker, fresh, rules, found.id, found.shown_hash)


def test_a_no_stands_against_the_same_push(stage: RulesStage) -> None:
    """It is told to each, and may still be turned into a yes."""
    pushed = stage.push(SHORTER)
    assert pushed.proposal is not None
    refuse_rules(stage.broker, stage.operator, pushed.proposal.id)
    refuse_rules(stage.broker, stage.operator, pushed.proposal.id)
    assert len(bodies(stage, FactKind.RULES_DECLINED)) == 1
    again = stage.push(SHORTER)
    assert again.proposal is not None
    assert (again.proposal.id, again.proposal.state) == (pushed.proposal.id, ProposalState.REFUSED)
    plan = stage.plan(SHORTER)
    assert plan.proposal == again.proposal
    assert stage.accept(again).number == 2


def test_what_is_wanted_no_more_is_overtaken_and_forgotten(stage: RulesStage) -> None:
    """A pipeline that pushes without end leaves one version behind, not all."""
    digests = []
    for minutes in range(1, 8):
        files = with_text("catalogue/orders-db.yaml", "max_ttl: 15m", f"max_ttl: {minutes}m")
        changed = {**files, "policies/tests/refunds.yaml": "tests: []"}
        digests.append(stage.push(changed).version)
    with stage.broker.store.transaction() as tx:
        kept = [digest for digest in digests if tx.rules_version(digest)]
    assert kept == digests[-1:]
    assert len(bodies(stage, FactKind.RULES_OVERTAKEN)) == 6
    stage.push(dict(SAMPLE))
    assert all(x.state is ProposalState.SUPERSEDED for x in stage.seen().proposals)


def test_a_push_on_what_is_not_in_force_any_more_is_refused(stage: RulesStage) -> None:
    """Compared with the digest that its plan saw; nothing is changed."""
    seen = stage.in_force()
    stage.push(OTHERS, AT_ONCE)
    with pytest.raises(ChangedMeanwhile):
        push_rules(stage.broker, PUSHER, AT_ONCE, SHORTER, seen)
    assert stage.in_force() == version_digest(OTHERS)


def test_an_operator_goes_back_in_one_step(stage: RulesStage) -> None:
    """To a version that was in force, with a reason on record; effective at the next look."""
    first = stage.in_force()
    stage.push(SHORTER, AT_ONCE)
    stage.active.reload()
    made = stage.back(first)
    assert (made.cause, made.digest, made.number) == (Cause.ROLLED_BACK, first, 3)
    assert stage.active.reload()
    assert stage.broker.rules().policy.decide is not None
    told = bodies(stage, FactKind.RULES_ACTIVATED)[-1]
    assert (told["cause"], told["untrusted_reason"]) == ("rolled_back", "it was wrong")


def test_only_what_was_in_force_can_be_gone_back_to(stage: RulesStage) -> None:
    """Not a proposal, not nothing, not what is in force; and only by a fresh operator."""
    first, proposed = stage.in_force(), stage.push(OTHERS).version
    for digest in (proposed, "0" * 64):
        with pytest.raises(NotFound):
            roll_back(stage.broker, stage.operator, digest, "why not")
    with pytest.raises(InvalidRequest):
        roll_back(stage.broker, stage.operator, first, "why not")
    stage.push(SHORTER, AT_ONCE)
    with pytest.raises(RoleRequired):
        roll_back(stage.broker, stage.owner, first, "why not")
    with pytest.raises(FreshLoginRequired):
        roll_back(stage.broker, stage.operator, first, "why not")


def test_a_login_to_go_back_is_good_for_one_step(stage: RulesStage) -> None:
    """It names what was in force when it was made."""
    first = stage.in_force()
    stage.push(SHORTER, AT_ONCE)
    named = look_at_version(stage.broker, stage.operator, first).fresh_for
    fresh = stage.fresh(stage.operator, named or "")
    roll_back(stage.broker, fresh, first, "once")
    stage.accept(stage.push(SHORTER))
    with pytest.raises(FreshLoginRequired):
        roll_back(stage.broker, fresh, first, "twice")


def test_going_back_passes_todays_gate(stage: RulesStage) -> None:
    """An older catalogue whose pins are gone does not come into force again."""
    first = stage.in_force()
    stage.push(SHORTER, AT_ONCE)
    stage.unpinned = {"orders-db": "its pins are not at OpenBao"}
    with pytest.raises(RulesNotProven):
        stage.back(first)
    assert stage.in_force() == version_digest(SHORTER)


def test_a_pipeline_that_runs_again_does_not_undo_a_way_back(stage: RulesStage) -> None:
    """What people went back from waits for them, even where the rule needs nobody."""
    first = stage.in_force()
    stage.push(SHORTER, AT_ONCE)
    stage.back(first)
    assert stage.plan(SHORTER, AT_ONCE).waits
    again = stage.push(SHORTER, AT_ONCE)
    assert (again.activation, stage.in_force()) == (None, first)
    assert stage.push(OTHERS, AT_ONCE).activation is not None
    stage.accept(stage.push(SHORTER, AT_ONCE))
    assert not stage.plan(SAMPLE, AT_ONCE).waits


def test_who_goes_back_over_several_versions_goes_back_from_each(stage: RulesStage) -> None:
    """Also from one that was skipped; what they went back to is in force without being asked."""
    first = stage.in_force()
    stage.push(SHORTER, AT_ONCE)
    stage.push(OTHERS, AT_ONCE)
    stage.back(first)
    assert stage.plan(SHORTER, AT_ONCE).waits
    assert stage.plan(OTHERS, AT_ONCE).waits
    stage.accept(stage.push(SHORTER, AT_ONCE))
    assert not stage.plan(SAMPLE, AT_ONCE).waits


def test_a_plan_tells_what_changes_and_which_asks_would_be_answered_otherwise(
    stage: RulesStage,
) -> None:
    """By replaying what was asked, without naming who; and nothing is written."""
    asked(stage, "orders-db:read{region=eu}")
    facts = len(bodies(stage, FactKind.RULES_ACTIVATED))
    stricter = with_text(
        "policies/refunds.cedar", '@max_ttl("15m")', '@max_ttl("5m")', files=SAMPLE
    )
    stricter["policies/tests/refunds.yaml"] = "tests: []"
    plan = stage.plan(stricter)
    assert [(x.what, x.part) for x in plan.changes] == [("changed", "policy refunds-read")]
    assert plan.replayed == 2  # the start of the task, and the ask
    [verdict] = plan.verdicts
    assert (verdict.ask, verdict.count) == ("orders-db:read", 1)
    assert verdict.was == "allow for at most 900 s"
    assert verdict.becomes == "allow for at most 300 s"
    assert len(bodies(stage, FactKind.RULES_ACTIVATED)) == facts
    assert not stage.seen().proposals


def test_a_scope_that_goes_away_is_told_with_the_leases_that_live(stage: RulesStage) -> None:
    """They end as they would have; nobody can ask for one more."""
    ask = asked(stage, "orders-db:read{region=eu}")
    files = dict(SAMPLE)
    text = files["catalogue/orders-db.yaml"]
    files["catalogue/orders-db.yaml"] = text.replace("  read:\n", "  look:\n")
    refunds = files["policies/refunds.cedar"]
    files["policies/refunds.cedar"] = refunds.replace("orders-db:read", "orders-db:look")
    files["policies/tests/refunds.yaml"] = "tests: []"
    plan = stage.plan(files)
    assert plan.leases == {"orders-db:read": 1}
    assert ("removed", "scope orders-db:read") in [(x.what, x.part) for x in plan.changes]
    assert ("orders-db:read", "unknown_scope") in [(x.ask, x.becomes) for x in plan.verdicts]
    made = stage.push(files, AT_ONCE)
    assert made.activation is not None
    assert bodies(stage, FactKind.RULES_ACTIVATED)[-1]["leases_losing_scope"] == plan.leases
    stage.active.reload()
    with stage.broker.store.transaction() as tx:
        [lease] = tx.unended_leases()
    assert lease.scope == "orders-db:read{region=eu}"
    with pytest.raises(UnknownScope):
        request_credential(stage.broker, stage.bot, replace(ask, idempotency_key="later"))


def test_without_a_first_version_nothing_is_in_force() -> None:
    """The replica says what to run; jobs and people are told the same."""
    stage = RulesStage(begun=False)
    with pytest.raises(NotReady):
        stage.broker.rules()
    assert "rules init" in str(stage.active.missing[0])
    with pytest.raises(NotReady, match="rules init"):
        stage.plan(dict(SAMPLE))
    begin_rules(stage.broker, SAMPLE, "opal", "the first")
    assert stage.active.reload()
    with pytest.raises(InvalidRequest, match="in force already"):
        begin_rules(stage.broker, SHORTER, "opal", "another first")


def test_where_rules_come_from_files_nothing_is_pushed() -> None:
    """The two are never merged."""
    stage = Stage()
    for call in (
        lambda: plan_rules(stage.broker, PUSHER, PUSHES, dict(SAMPLE)),
        lambda: begin_rules(stage.broker, SAMPLE, "opal", "the first"),
        lambda: look_at_rules(stage.broker, stage.operator, None),
    ):
        with pytest.raises(RulesFromFiles):
            call()


def test_a_version_that_can_no_longer_be_read_is_left_by_going_back(stage: RulesStage) -> None:
    """A replica that starts on it comes up, says which policy, and serves what is gone back to."""
    good, now = stage.in_force(), stage.broker.store.now()
    chain = '@id("deep") forbid (principal, action, resource) when { true'
    files = {**SAMPLE, "policies/deep.cedar": chain + " && true" * 480 + " };"}
    version = RulesVersion(version_digest(files), files, "c", "p", "someone", None, now)
    with stage.broker.store.transaction() as tx:
        tx.add_rules_version(version)
        tx.add_activation(Activation(2, version.digest, Cause.APPLIED, "someone", now))
    started = ActiveRules(StoredRules(stage.broker.store, GROUPS), stage.gate)
    assert [(why.file, why.line) for why in started.missing] == [("policies/deep.cedar", 1)]
    stage.back(good)
    assert started.reload()
    with pytest.raises(RulesInvalid, match="operators"):
        stage.back(version.digest)


def test_a_version_that_was_altered_in_the_database_is_not_served(stage: RulesStage) -> None:
    """Its texts must be those that its digest names."""
    stage.push(SHORTER, AT_ONCE)
    digest = version_digest(SHORTER)
    kept = stage.broker.store.state.rules_versions  # type: ignore[attr-defined]
    kept[digest] = replace(kept[digest], files=OTHERS)
    assert not stage.active.reload()
    assert "not whole" in str(stage.active.problems[0])
    assert stage.seen().serves == 1


def test_only_those_who_watch_or_push_see_the_rules(stage: RulesStage) -> None:
    """Operators, auditors, and jobs of a rule that pushes, which see their own proposals."""
    stage.push(SHORTER)
    other = replace(PUSHES, name="other-ci")
    assert look_at_rules(stage.broker, PUSHER, other).proposals == []
    assert len(look_at_rules(stage.broker, PUSHER, PUSHES).proposals) == 1
    for caller, rule in ((stage.owner, None), (JOB, RULE)):
        with pytest.raises(RoleRequired):
            look_at_rules(stage.broker, caller, rule)
    with pytest.raises(RoleRequired):
        look_at_version(stage.broker, stage.owner, stage.in_force())
