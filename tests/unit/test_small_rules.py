"""Grants, tasks, kills, agents, errors: small rules that flows rely on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from valetkey.core import errors
from valetkey.core.catalogue import Catalogue, Parameter, ScopeDefinition, Target
from valetkey.core.errors import (
    BrokerError,
    InvalidParameter,
    InvalidRequest,
    Killed,
    NotFound,
    OutsideTask,
    StaleHeartbeat,
    TaskEnded,
    UnknownScope,
)
from valetkey.core.grant import Approval, Grant, GrantState, approvals_by_group
from valetkey.core.kill import Height, Kill, Reach, refuse_if_killed, stops
from valetkey.core.scope import Scope
from valetkey.core.task import Task

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TASK = Task("task_1", "agent_1", "o", "p", (Scope.parse("a:read"),), "jkt", NOW, NOW + HOUR)
PEOPLE = some.sampled_from(["anna", "arun", "olga"])
GROUPS = some.frozensets(some.sampled_from(["approvers", "security"]))
VERDICTS = some.sampled_from(["approve", "deny"])


def grant(state: GrantState) -> Grant:
    """A grant in a state, waiting until now plus an hour."""
    return Grant(
        id="grant_1", task_id="task_1", agent_id="agent_1", scope="a:read", ask_hash="h",
        idempotency_key="k", state=state, requested_ttl=HOUR, granted_ttl=HOUR, cut_by="asked",
        requester_jkt="jkt", decision_id="d", created_at=NOW, waits_until=NOW + HOUR,
    )  # fmt: skip


@given(some.lists(some.tuples(PEOPLE, GROUPS, VERDICTS), max_size=8))
def test_a_person_counts_for_one_group_only(
    given_: list[tuple[str, frozenset[str], str]],
) -> None:
    """Only yeses, only of the groups that the grant waits for, and nobody twice."""
    said = tuple(
        Approval(str(n), "grant_1", who, tuple(groups), verdict, "h", NOW, NOW)
        for n, (who, groups, verdict) in enumerate(given_)
    )
    counted = approvals_by_group((("approvers", 1), ("security", 2)), said)
    yes = {who: groups for who, groups, verdict in given_ if verdict == "approve"}
    fitting = {who for who, groups in yes.items() if groups & {"approvers", "security"}}
    assert sum(counted.values()) == len(fitting)
    for group, count in counted.items():
        assert count <= sum(group in groups for groups in yes.values())


def test_one_person_in_two_groups_cannot_be_two_approvals() -> None:
    """Two groups mean two people; the second person's other group is then enough."""
    needs = (("approvers", 1), ("security", 1))

    def said(name: str, *groups: str) -> Approval:
        return Approval(f"approval_{name}", "grant_1", name, groups, "approve", "h", NOW, NOW)

    both = said("ann", "approvers", "security")
    assert sum(approvals_by_group(needs, (both,)).values()) == 1
    assert approvals_by_group(needs, (both, said("bob", "approvers"))) == dict(needs)
    assert approvals_by_group(needs, (both, said("bob", "security"))) == dict(needs)


def test_two_spellings_of_one_address_are_one_approval() -> None:
    """However an issuer writes it: one mailbox is one person."""
    spelled = [
        Approval(name, "grant_1", name, ("approvers",), "approve", "h", NOW, NOW)
        for name in ("Ann@example.com", "ann@example.com")
    ]
    assert approvals_by_group((("approvers", 2),), tuple(spelled)) == {"approvers": 1}


@pytest.mark.parametrize("state", list(GrantState))
def test_only_an_approved_grant_in_time_is_collected(state: GrantState) -> None:
    """Every other state has its own reason."""
    if state is GrantState.APPROVED:
        grant(state).may_be_collected(NOW)
    with pytest.raises(BrokerError):
        grant(state).may_be_collected(NOW if state is not GrantState.APPROVED else NOW + HOUR)


@pytest.mark.parametrize("state", list(GrantState))
def test_only_a_waiting_grant_in_time_is_decided(state: GrantState) -> None:
    """Whatever was decided stays decided."""
    if state is GrantState.WAITING:
        grant(state).waits(NOW)
    with pytest.raises(BrokerError):
        grant(state).waits(NOW if state is not GrantState.WAITING else NOW + HOUR)


def test_a_task_belongs_to_its_agent_with_its_key() -> None:
    """For all others there is no such task."""
    TASK.belongs_to("agent_1", "jkt")
    for agent_id, jkt in (("agent_2", "jkt"), ("agent_1", "other"), (None, "jkt")):
        with pytest.raises(NotFound):
            TASK.belongs_to(agent_id, jkt)


def test_a_task_is_open_until_its_deadline_or_its_end() -> None:
    """The deadline itself is too late; ending twice keeps the first end."""
    TASK.is_open(NOW)
    ended = TASK.ended("ended", NOW)
    assert ended.ended("deadline", NOW + HOUR) is ended
    for task, at in ((TASK, NOW + HOUR), (ended, NOW)):
        with pytest.raises(TaskEnded):
            task.is_open(at)
    TASK.declares(Scope.parse("a:read{x=y}"))
    with pytest.raises(OutsideTask):
        TASK.declares(Scope.parse("a:write"))


@pytest.mark.parametrize("height", list(Height))
def test_a_kill_stops_what_is_under_it_and_nothing_else(height: Height) -> None:
    """Each height looks at its own part of the reach; unknown parts are never matched."""
    subject = {Height.EVERYTHING: "", Height.SCOPE: "x:read"}.get(height, "x")
    kill = Kill("k", height, subject, "r", "b", NOW)
    under = {
        Height.AGENT: Reach(agent_id="x"),
        Height.TASK: Reach(task_id="x"),
        Height.TARGET: Reach(target="x"),
        Height.LEASE: Reach(lease_id="x"),
        Height.OWNER: Reach(owner="x"),
        Height.PERSON: Reach(person_email="x"),
        Height.VENDOR: Reach(vendor="x"),
        Height.ISSUER: Reach(issuer="x"),
        Height.SCOPE: Reach(scope="x:read{region=eu}"),
        Height.EVERYTHING: Reach(),
    }
    for other, reach in under.items():
        assert stops(kill, reach) is (other is height or height is Height.EVERYTHING)
    with pytest.raises(Killed):
        refuse_if_killed([kill], under[height])
    refuse_if_killed([], under[height])


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("orders-db:read{region=eu}", True),
        ("orders-db:read{region=eu,table=a}", True),
        ("orders-db:read{region=us}", False),
        ("orders-db:read", False),
        ("orders-db:write{region=eu}", False),
        ("", False),
        (None, False),
    ],
)
def test_a_kill_of_a_scope_stops_what_is_no_wider(scope: str | None, covered: bool) -> None:
    """What is wider stays, and so does what has no scope that could be read."""
    kill = Kill("k", Height.SCOPE, "orders-db:read{region=eu}", "r", "b", NOW)
    assert stops(kill, Reach(scope=scope)) is covered


def test_a_beat_is_taken_with_the_newest_fence_only() -> None:
    """It moves silence on and the fence; an old fence changes nothing."""
    beat = timedelta(seconds=10)
    first = replace(TASK, heartbeat=beat).beaten(0, NOW, 3)
    assert (first.beat_fence, first.silent_at) == (1, NOW + 3 * beat)
    second = first.beaten(1, NOW + beat, 3)
    assert (second.beat_fence, second.silent_at) == (2, NOW + 4 * beat)
    with pytest.raises(StaleHeartbeat):
        second.beaten(1, NOW + beat, 3)
    with pytest.raises(InvalidRequest):
        TASK.beaten(0, NOW, 3)


def test_a_silent_task_is_not_open() -> None:
    """Even before the sweep has come by."""
    task = replace(TASK, heartbeat=timedelta(seconds=10)).beaten(0, NOW, 3)
    task.is_open(NOW + timedelta(seconds=29))
    with pytest.raises(TaskEnded):
        task.is_open(NOW + timedelta(seconds=30))


CATALOGUE = Catalogue(
    {
        "a": Target(
            "a",
            "fake",
            "e",
            "o",
            scopes={
                "read": ScopeDefinition(
                    "read",
                    False,
                    HOUR,
                    (
                        Parameter("region", "enum", ("eu", "us")),
                        Parameter("rows", "integer", minimum=1, maximum=100),
                        Parameter("path", "path_prefix"),
                        Parameter("table", "identifier"),
                    ),
                )
            },
        )
    },
    "digest",
)


def test_a_catalogued_scope_comes_with_its_definition() -> None:
    """And the digest that was in force."""
    scope = Scope.parse("a:read{path=x/y/,region=eu,rows=7,table=t_1}")
    found = CATALOGUE.find(scope)
    assert (found.scope, found.catalogue_digest) == (scope, "digest")
    CATALOGUE.check_bound(Scope.parse("a:read{region=eu}"))


@pytest.mark.parametrize(
    "change",
    [
        "region=mars",
        "rows=0",
        "rows=101",
        "rows=07",
        "rows=1.5",
        "rows=-1",
        "rows=9999999999",
        "path=x",
        "table=T",
        "table=1t",
        "table=t.x",
    ],
)
def test_a_value_out_of_its_type_is_refused_and_not_echoed(change: str) -> None:
    """In an ask and in a boundary alike."""
    key, _, value = change.partition("=")
    usual = {"path": "x/", "region": "eu", "rows": "7", "table": "t", key: value}
    scope = Scope("a", "read", tuple(sorted(usual.items())))
    for check in (CATALOGUE.find, CATALOGUE.check_bound):
        with pytest.raises(InvalidParameter) as refused:
            check(scope)
        assert "mars" not in str(refused.value)


def test_an_unknown_scope_or_parameter_is_refused() -> None:
    """A missing one too, in an ask."""
    for text in ("b:read", "a:write"):
        with pytest.raises(UnknownScope):
            CATALOGUE.find(Scope.parse(text))
        with pytest.raises(UnknownScope):
            CATALOGUE.check_bound(Scope.parse(text))
    for text in ("a:read{region=eu}", "a:read"):
        with pytest.raises(InvalidParameter):
            CATALOGUE.find(Scope.parse(text))
    with pytest.raises(InvalidParameter):
        CATALOGUE.check_bound(Scope.parse("a:read{other=eu}"))


def test_every_error_has_a_code_of_its_own_a_sentence_and_a_next_action() -> None:
    """The catalogue is closed: nobody guesses."""
    classes = errors.catalogue()
    codes = [each.code for each in classes]
    assert len(set(codes)) == len(codes)
    for each in classes:
        assert (each.__doc__ or "").splitlines()[0].endswith(".")
        assert each.next_action.strip()
        assert each().detail == (each.__doc__ or "").splitlines()[0]


def test_an_error_says_what_it_was_told_and_nothing_more() -> None:
    """Its text is code and detail; the rest is carried beside it."""
    error = BrokerError("why", retry_after=3, decision_id="d", extra={"a": "b"})
    assert str(error) == "internal: why"
    assert (error.retry_after, error.decision_id, error.extra) == (3, "d", {"a": "b"})
    assert not error.recorded
