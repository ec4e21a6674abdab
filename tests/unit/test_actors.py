"""Who acts, as claims say it: the current agent outermost, and nobody who does not act."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from valetkey.core.actors import Actors

AGENTS = st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=6)


def test_an_agent_that_acts_for_itself_is_no_actor() -> None:
    """Nor is one that opened child tasks for itself."""
    assert Actors.of(["a", "a", "a"], None).claims() == {}
    assert Actors().claims() == {}


def test_on_behalf_of_a_person_the_subject_is_that_person() -> None:
    """The agent is the actor, also when it is alone."""
    assert Actors.of(["a"], "https://people pat").claims() == {
        "sub": "https://people pat",
        "act": {"sub": "a"},
    }


@given(AGENTS, st.sampled_from((None, "https://people pat")))
def test_the_current_agent_is_outermost_and_the_first_innermost(
    agents: list[str], person: str | None
) -> None:
    """Only names stand in it, and reading it inwards gives the chain from the leaf to the root."""
    claims = Actors.of(agents, person).claims()
    turns = [a for a, b in zip(agents, [None, *agents], strict=False) if a != b]
    read, act = [], claims.get("act")
    while isinstance(act, dict):
        assert act.keys() <= {"sub", "act"}
        read.append(act["sub"])
        act = act.get("act")
    assert read == (turns[::-1] if person or len(turns) > 1 else [])
