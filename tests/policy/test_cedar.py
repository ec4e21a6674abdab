"""Decisions: deny by default, every doubt a deny, the fewest approvals, the lowest TTL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.core.agent import Agent, AgentState
from valetkey.core.catalogue import Catalogue
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.on_behalf import Person
from valetkey.core.scope import Scope
from valetkey.policy.cedar import CedarPolicy, candidates
from valetkey.policy.problems import PolicyInvalid
from valetkey.policy.rules import Rules

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
GROUPS = ("first", "second", "third")
BOT = Agent(
    id="agent_1",
    name="refund-bot",
    owner="olivia@example.com",
    team="refunds",
    environment="production",
    labels={"region": "eu"},
    boundary=(),
    state=AgentState.ACCEPTED,
    created_by="ci",
    created_by_rule=None,
    created_at=NOW,
)
PERMIT = '@id("p") permit (principal, action, resource);'


def ask(catalogue: Catalogue, scope: str, approvals: Mapping[str, int] | None = None) -> Question:
    """A question about one scope, for five minutes."""
    wanted = catalogue.find(Scope.parse(scope))
    return Question(
        BOT, timedelta(minutes=5), NOW, "task_1", "o", (wanted.scope,), wanted, approvals or {}
    )


def policy(tmp_path: Path, catalogue: Catalogue, text: str) -> CedarPolicy:
    """A policy set of one file."""
    (tmp_path / "x.cedar").write_text(text)
    return CedarPolicy.load(tmp_path, catalogue, GROUPS)


def read(tmp_path: Path, catalogue: Catalogue, text: str) -> Decision:
    """What one policy text says of reading the eu region."""
    return policy(tmp_path, catalogue, text).decide(ask(catalogue, "orders-db:read{region=eu}"))


def test_nothing_is_allowed_that_no_policy_permits(tmp_path: Path, catalogue: Catalogue) -> None:
    """Deny by default, with no determining rule."""
    text = '@id("p") permit (principal, action == Action::"start_task", resource);'
    decision = read(tmp_path, catalogue, text)
    assert (decision.outcome, decision.rules, decision.problem) == (Outcome.DENY, (), None)


def test_forbid_wins(tmp_path: Path, catalogue: Catalogue) -> None:
    """Whatever permits beside it."""
    decision = read(tmp_path, catalogue, PERMIT + '@id("f") forbid (principal, action, resource);')
    assert (decision.outcome, decision.rules) == (Outcome.DENY, ("f",))


def test_an_erroring_forbid_denies_and_says_so(tmp_path: Path, catalogue: Catalogue) -> None:
    """Cedar would skip it and allow; here the doubt is a deny."""
    overflow = (
        '@id("f") forbid (principal, action, resource) '
        "when { context.ttl * 9223372036854775807 > 0 };"
    )
    decision = read(tmp_path, catalogue, PERMIT + overflow)
    assert decision.outcome is Outcome.DENY
    assert decision.problem is not None
    assert decision.needs == ()


@given(
    error=st.sampled_from(
        ["context.ttl * 9223372036854775807 > 0", "context.ttl + 9223372036854775807 > 0"]
    ),
    effect=st.sampled_from(["permit", "forbid"]),
    join=st.sampled_from(["when { %s }", "unless { %s }", "when { true && %s }"]),
    ttl=st.integers(2, 43200),
    approvals=st.dictionaries(st.sampled_from(GROUPS), st.integers(0, 3)),
)
@settings(max_examples=40)
def test_a_policy_that_errors_never_yields_allow(
    tmp_path_factory: pytest.TempPathFactory,
    catalogue: Catalogue,
    error: str,
    effect: str,
    join: str,
    ttl: int,
    approvals: dict[str, int],
) -> None:
    """Permit or forbid, when or unless, with or without approvals."""
    bad = f'@id("bad") {effect} (principal, action, resource) {join % error};'
    broken = policy(tmp_path_factory.mktemp("p"), catalogue, PERMIT + bad)
    question = ask(catalogue, "orders-db:write{region=us}", approvals)
    decision = broken.decide(replace(question, ttl=timedelta(seconds=ttl)))
    assert decision.outcome is Outcome.DENY
    assert decision.problem


def test_an_error_met_only_with_approvals_is_no_way_to_allow(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """The search does not offer approvals under which policy would break."""
    text = PERMIT + (
        '@id("f") forbid (principal, action, resource) unless '
        '{ context.approvals["first"] >= 1 && '
        'context.approvals["first"] * 9223372036854775807 * context.ttl > 0 };'
    )
    decision = read(tmp_path, catalogue, text)
    assert (decision.outcome, decision.needs) == (Outcome.DENY, ())


def test_a_question_outside_the_schema_is_a_deny_that_says_so(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """A scope of another catalogue version makes no decision, and so a deny."""
    question = ask(catalogue, "orders-db:read{region=eu}")
    assert question.wanted is not None
    definition = replace(question.wanted.definition, name="renamed")
    strange = replace(question, wanted=replace(question.wanted, definition=definition))
    decision = policy(tmp_path, catalogue, PERMIT).decide(strange)
    assert decision.outcome is Outcome.DENY
    assert decision.problem


def test_an_exception_inside_is_a_deny_that_says_so(tmp_path: Path, catalogue: Catalogue) -> None:
    """The port never raises."""
    question = replace(ask(catalogue, "orders-db:read{region=eu}"), ttl=None)  # type: ignore[arg-type]
    decision = policy(tmp_path, catalogue, PERMIT).decide(question)
    assert decision.outcome is Outcome.DENY
    assert decision.problem == "policy could not be evaluated: AttributeError"


@pytest.mark.parametrize(
    ("condition", "needs"),
    [
        ('context.approvals["first"] >= 1', (("first", 1),)),
        ('context.approvals["second"] >= 2', (("second", 2),)),
        (
            'context.approvals["first"] >= 1 && context.approvals["third"] >= 1',
            (("first", 1), ("third", 1)),
        ),
        (
            'context.approvals["first"] >= 2 || context.approvals["second"] >= 1',
            (("second", 1),),
        ),
        (
            'context.approvals["first"] >= 2 && context.approvals["second"] >= 2',
            (("first", 2), ("second", 2)),
        ),
    ],
)
def test_the_fewest_approvals_that_flip_a_deny_are_found(
    tmp_path: Path, catalogue: Catalogue, condition: str, needs: tuple[tuple[str, int], ...]
) -> None:
    """One group before two, one person before two; with them the decision is allow."""
    text = PERMIT + f'@id("f") forbid (principal, action, resource) unless {{ {condition} }};'
    engine = policy(tmp_path, catalogue, text)
    decision = engine.decide(ask(catalogue, "orders-db:write{region=eu}"))
    assert (decision.outcome, decision.needs) == (Outcome.NEEDS_APPROVAL, needs)
    assert decision.rules == ("f",)
    approved = engine.decide(ask(catalogue, "orders-db:write{region=eu}", dict(needs)))
    assert approved.outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    "condition",
    [
        'context.approvals["first"] >= 3',
        " && ".join(f'context.approvals["{group}"] >= 1' for group in GROUPS),
    ],
)
def test_more_than_two_groups_of_two_is_a_deny(
    tmp_path: Path, catalogue: Catalogue, condition: str
) -> None:
    """The search is bounded."""
    text = PERMIT + f'@id("f") forbid (principal, action, resource) unless {{ {condition} }};'
    assert read(tmp_path, catalogue, text).outcome is Outcome.DENY


def test_what_is_approved_already_counts_towards_the_need(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """Needs are totals: one of two approvals given still needs two in all."""
    text = PERMIT + (
        '@id("f") forbid (principal, action, resource) unless { context.approvals["first"] >= 2 };'
    )
    engine = policy(tmp_path, catalogue, text)
    decision = engine.decide(ask(catalogue, "orders-db:read{region=eu}", {"first": 1}))
    assert decision.needs == (("first", 2),)


def test_approvals_of_unknown_groups_count_for_nothing(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """They are left out, and cannot break the decision."""
    engine = policy(tmp_path, catalogue, PERMIT)
    decision = engine.decide(ask(catalogue, "orders-db:read{region=eu}", {"strangers": 9}))
    assert decision.outcome is Outcome.ALLOW
    assert "strangers" not in json.dumps(decision.recorded_input)


def test_the_lowest_max_ttl_of_the_determining_permits_holds(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """Only of those that held; a permit that did not apply limits nothing."""
    text = """
        @id("a") @max_ttl("15m") permit (principal, action, resource);
        @id("b") @max_ttl("90s") permit (principal, action, resource) when { context.ttl > 10 };
        @id("c") @max_ttl("1s") permit (principal, action, resource) when { context.ttl > 999 };
    """
    decision = read(tmp_path, catalogue, text)
    assert (decision.rules, decision.max_ttl) == (("a", "b"), timedelta(seconds=90))


def test_the_input_is_recorded_whole_and_can_be_decided_again(rules: Rules) -> None:
    """JSON out and in gives the same question; no free text is in it."""
    decision = rules.policy.decide(ask(rules.catalogue, "orders-db:read{region=eu}"))
    assert decision.outcome is Outcome.ALLOW
    assert decision.policy_hash == rules.policy.hash
    assert decision.catalogue_digest == rules.catalogue.digest
    again = json.loads(json.dumps(decision.recorded_input))
    assert again == decision.recorded_input
    assert again["context"]["parameters"] == {"region": "eu"}
    assert again["context"]["ttl"] == 300


def test_ids_from_outside_are_data(tmp_path: Path, catalogue: Catalogue) -> None:
    """Quotes, Cedar text and new lines in an agent's name or labels change nothing."""
    engine = policy(
        tmp_path,
        catalogue,
        '@id("p") permit (principal, action, resource) when { principal.name == "safe" };',
    )
    nasty = '"};\npermit(principal,action,resource);//\\'
    agent = replace(BOT, id=nasty, name=nasty, owner=nasty, labels={nasty: nasty})
    decision = engine.decide(replace(ask(catalogue, "orders-db:read{region=eu}"), agent=agent))
    assert (decision.outcome, decision.problem) == (Outcome.DENY, None)


def test_actions_are_grouped_by_whether_they_change_things(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """`read-only` holds read and not write."""
    engine = policy(
        tmp_path, catalogue, '@id("p") permit (principal, action in Action::"read-only", resource);'
    )
    assert engine.decide(ask(catalogue, "orders-db:read{region=eu}")).outcome is Outcome.ALLOW
    assert engine.decide(ask(catalogue, "orders-db:write{region=eu}")).outcome is Outcome.DENY


def test_a_task_start_is_a_decision_over_what_it_declares(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """Policy sees the scopes, their targets and whether any changes things."""
    engine = policy(
        tmp_path,
        catalogue,
        '@id("p") permit (principal, action == Action::"start_task", resource) '
        'when { !context.task.mutates && ["orders-db"].containsAll(context.task.targets) };',
    )
    start = Question(BOT, timedelta(minutes=5), NOW)
    reads, writes = Scope.parse("orders-db:read"), Scope.parse("orders-db:write")
    assert engine.decide(replace(start, task_scopes=(reads,))).outcome is Outcome.ALLOW
    assert engine.decide(replace(start, task_scopes=(reads, writes))).outcome is Outcome.DENY


def test_on_behalf_of_is_there_only_when_proven(tmp_path: Path, catalogue: Catalogue) -> None:
    """An optional attribute: a policy must ask whether it is there."""
    engine = policy(
        tmp_path,
        catalogue,
        '@id("p") permit (principal, action, resource) '
        'when { context has on_behalf_of && context.on_behalf_of == "https://people olivia" };',
    )
    question = ask(catalogue, "orders-db:read{region=eu}")
    assert engine.decide(question).outcome is Outcome.DENY
    person = Person("https://people olivia", "olivia@example.com", ("refunds-team",))
    assert engine.decide(replace(question, person=person)).outcome is Outcome.ALLOW


def test_a_policy_may_ask_for_the_address_and_the_groups_of_a_person(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    """As they were verified when the person let the agent act for them."""
    engine = policy(
        tmp_path,
        catalogue,
        '@id("p") permit (principal, action, resource) when { context has person && '
        'context.person.groups.contains("refunds-team") && '
        'context.person.email == "olivia@example.com" };',
    )
    question = ask(catalogue, "orders-db:read{region=eu}")
    olivia = Person("https://people olivia", "olivia@example.com", ("refunds-team",))
    assert engine.decide(question).outcome is Outcome.DENY
    assert engine.decide(replace(question, person=olivia)).outcome is Outcome.ALLOW
    left = replace(olivia, groups=())
    assert engine.decide(replace(question, person=left)).outcome is Outcome.DENY


BROKEN = {
    "no id": ("permit (principal, action, resource);", 1, "needs an @id"),
    "bad id": ('@id("A b") permit (principal, action, resource);', 1, "needs an @id"),
    "twice": (PERMIT + "\n\n" + PERMIT, 3, "@id p is also at"),
    "annotation": ('@id("p") @maxttl("5m") permit (principal, action, resource);', 1, "@maxttl"),
    "ttl": ('@id("p") @max_ttl("soon") permit (principal, action, resource);', 1, "duration"),
    "ttl on forbid": (
        '@id("p") @max_ttl("5m") forbid (principal, action, resource);',
        1,
        "permits",
    ),
    "syntax": (PERMIT + "\n// x; y\npermit (principal,\n wrong);", 3, "is not Cedar"),
    "cut off": (PERMIT + '\n@id("q") permit (principal', 2, "is not Cedar"),
    "template": ('@id("p") permit (principal == ?principal, action, resource);', 1, "slots"),
    "attribute": (
        PERMIT + '\n@id("q") permit (principal, action, resource) when { context.tll > 1 };',
        2,
        "tll",
    ),
    "type": (
        '@id("q") permit (principal, action, resource) when { context.ttl == "5" };',
        1,
        "policy q",
    ),
    "action": (
        '@id("q") permit (principal, action == Action::"orders-db:reed", resource);',
        1,
        "reed",
    ),
    "group": (
        '@id("q") permit (principal, action, resource) when { context.approvals["fist"] > 0 };',
        1,
        "fist",
    ),
    "tag": (
        '@id("q") permit (principal, action, resource) when { principal.getTag("r") == "x" };',
        1,
        "tag",
    ),
    "hidden": (PERMIT + "\n// \u202e x", 2, "hides"),
    "empty": ("// nothing\n", 0, "holds no policy"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_policy_is_refused_with_file_and_line(
    tmp_path: Path, catalogue: Catalogue, name: str
) -> None:
    """At load, before it could decide anything."""
    text, line, part = BROKEN[name]
    with pytest.raises(PolicyInvalid) as caught:
        policy(tmp_path, catalogue, text)
    assert any(p.line == line and part in p.message for p in caught.value.problems), caught.value


def test_an_id_is_unique_across_files(tmp_path: Path, catalogue: Catalogue) -> None:
    """The second place names the first."""
    (tmp_path / "a.cedar").write_text(PERMIT)
    with pytest.raises(PolicyInvalid, match=r"x\.cedar:1: @id p is also at .*a\.cedar:1"):
        policy(tmp_path, catalogue, PERMIT)


def test_the_policy_hash_is_of_names_and_bytes(tmp_path: Path, catalogue: Catalogue) -> None:
    """A comment changes it; it does not depend on where the folder is."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    assert policy(here, catalogue, PERMIT).hash == policy(there, catalogue, PERMIT).hash
    before = policy(here, catalogue, PERMIT).hash
    assert policy(here, catalogue, PERMIT + "// x").hash != before


@given(have=st.dictionaries(st.sampled_from(GROUPS), st.integers(0, 3)))
def test_candidates_grow_and_are_new(have: dict[str, int]) -> None:
    """Fewest people first; nothing is tried that is had already."""
    found = list(candidates(GROUPS, have))
    sizes = [sum(count for _, count in needs) for needs in found]
    assert sizes == sorted(sizes)
    assert all(count > have.get(group, 0) for needs in found for group, count in needs)
    assert len(set(found)) == len(found)
