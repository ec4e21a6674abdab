"""What could be had instead of what was denied: decided, never guessed, and the nearest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from valetkey.core.catalogue import Catalogue, Parameter, ScopeDefinition, Target
from valetkey.core.decision import Decision, Outcome, Question
from valetkey.core.scope import Scope
from valetkey.flows.nearest import nearest_ask, nearest_task
from valetkey.testing.brokers import EPOCH, Stage

REGION = Parameter("region", "enum", ("eu", "us", "jp"))
FOLDER = Parameter("folder", "path_prefix")


def catalogue() -> Catalogue:
    """Reading and writing by region, listing without parameters, and a scope by folder."""
    quarter = timedelta(minutes=15)
    scopes = {
        "write": ScopeDefinition("write", True, quarter, (REGION,)),
        "read": ScopeDefinition("read", False, quarter, (REGION,)),
        "list": ScopeDefinition("list", False, timedelta(minutes=2)),
        "drop": ScopeDefinition("drop", True, quarter),
        "fetch": ScopeDefinition("fetch", False, quarter, (FOLDER,)),
    }
    target = Target("orders-db", "fake", "production", "data@example.com", scopes=scopes)
    return Catalogue({"orders-db": target}, "digest")


def asked(scope: str, seconds: int = 600) -> Question:
    """The question of one ask."""
    wanted = catalogue().find(Scope.parse(scope))
    return Question(Stage().agent, timedelta(seconds=seconds), EPOCH, wanted=wanted)


def deciding(rule: Callable[[Question], Outcome]) -> Callable[[Question], Decision]:
    """Policy as a function."""
    return lambda question: Decision(rule(question), (), "hash", "digest", {})


def everything(scope: Scope) -> bool:
    """Task and boundaries reach all."""
    return True


@given(limit=st.integers(1, 599))
def test_a_shorter_time_is_found_to_the_second(limit: int) -> None:
    """Where policy allows up to a time, the nearest is that very time."""
    rule = deciding(
        lambda q: Outcome.ALLOW if q.ttl <= timedelta(seconds=limit) else Outcome.DENY
    )
    found = nearest_ask(rule, catalogue(), asked("orders-db:read{region=eu}"), everything)
    assert found is not None
    assert (found.ttl, found.scopes) == (
        timedelta(seconds=limit),
        (Scope.parse("orders-db:read{region=eu}"),),
    )


def test_another_value_of_the_same_action_comes_before_another_action() -> None:
    """Who may not read in the US is told of the EU, not of listing."""
    rule = deciding(
        lambda q: Outcome.DENY
        if q.wanted and "us" in dict(q.wanted.scope.parameters).values()
        else Outcome.ALLOW
    )
    found = nearest_ask(rule, catalogue(), asked("orders-db:read{region=us}"), everything)
    assert found is not None
    assert [str(scope) for scope in found.scopes] == ["orders-db:read{region=eu}"]


def test_what_changes_something_is_never_offered_instead_of_another_action() -> None:
    """Denied a write one is told of reading in the same region; of dropping never."""
    rule = deciding(
        lambda q: Outcome.DENY if q.wanted and q.wanted.scope.name == "write" else Outcome.ALLOW
    )
    found = nearest_ask(rule, catalogue(), asked("orders-db:write{region=us}"), everything)
    assert found is not None
    assert [str(scope) for scope in found.scopes] == ["orders-db:read{region=us}"]


def test_what_needs_people_says_so_and_nothing_beyond_the_task_is_offered() -> None:
    """The only scope that fits waits for approval, and never for longer than it may be had."""
    rule = deciding(
        lambda q: Outcome.NEEDS_APPROVAL
        if q.wanted and q.wanted.scope.name == "list"
        else Outcome.DENY
    )
    only_listing = Scope("orders-db", "list")
    found = nearest_ask(
        rule, catalogue(), asked("orders-db:drop"), lambda scope: scope <= only_listing
    )
    assert found is not None
    assert found.told() == {
        "scopes": ["orders-db:list"],
        "ttl": 120,
        "outcome": "needs_approval",
    }
    nothing = nearest_ask(rule, catalogue(), asked("orders-db:drop"), lambda scope: False)
    assert nothing is None


def test_a_task_is_told_which_of_its_scopes_it_could_have() -> None:
    """Those that may be had together; a shorter task with all of them comes first."""
    scopes = tuple(map(Scope.parse, ("orders-db:read", "orders-db:write", "orders-db:list")))
    question = replace(asked("orders-db:list"), wanted=None, task_scopes=scopes)
    no_writing = deciding(
        lambda q: Outcome.DENY
        if any(scope.name == "write" for scope in q.task_scopes)
        else Outcome.ALLOW
    )
    fewer = nearest_task(no_writing, question)
    assert fewer is not None
    assert [str(scope) for scope in fewer.scopes] == ["orders-db:read", "orders-db:list"]
    short = deciding(lambda q: Outcome.ALLOW if q.ttl.total_seconds() < 60 else Outcome.DENY)
    shorter = nearest_task(short, question)
    assert shorter is not None
    assert (shorter.scopes, shorter.ttl) == (scopes, timedelta(seconds=59))


def test_looking_is_bounded() -> None:
    """However many scopes a target has, a denial costs only so many decisions."""
    values = tuple(f"r{number}" for number in range(60))
    read = ScopeDefinition("read", False, timedelta(hours=1), (Parameter("a", "enum", values),))
    target = Target("big", "fake", "production", "x@example.com", scopes={"read": read})
    wanted = Catalogue({"big": target}, "digest").find(Scope.parse("big:read{a=r1}"))
    asks: list[Question] = []

    def denied(question: Question) -> Decision:
        asks.append(question)
        return Decision(Outcome.DENY, (), "hash", "digest", {})

    question = Question(Stage().agent, timedelta(hours=12), EPOCH, wanted=wanted)
    whole = Catalogue({"big": target}, "digest")
    assert nearest_ask(denied, whole, question, everything) is None
    assert len(asks) <= 40
