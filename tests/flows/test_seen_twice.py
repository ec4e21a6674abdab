"""Stories of one identity in two places: told once in a while, and nobody is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from tests.flows.stories import facts, kinds
from valetkey.core.facts import FactKind
from valetkey.core.principal import Caller, Principal
from valetkey.flows.tell_exchange import WINDOW, tell_exchange
from valetkey.testing.brokers import EPOCH, Stage

BOT = Caller(
    kind="agent",
    principal=Principal("https://cluster", "system:serviceaccount:refunds:refund-bot"),
    jkt="key-1",
    expires_at=EPOCH + timedelta(days=1),
    token_id="t",
    agent_id="agent_bot",
    agent="refund-bot",
    binding_id="binding_1",
)


def told(
    stage: Stage, key: str, noted: Mapping[str, str] | None = None, issuer: str = "workloads"
) -> bool:
    """The bot proves itself with this key."""
    return tell_exchange(stage.broker, replace(BOT, jkt=key), issuer, (), noted)


def test_a_second_key_is_told_once(stage: Stage) -> None:
    """Both get their token; the fact names both keys."""
    assert [told(stage, key) for key in ("a", "a", "b", "b", "a", "c")] == [
        *(False, False, True),
        *(False, False, False),
    ]
    assert kinds(stage).count(FactKind.TOKEN_EXCHANGED) == 6
    seen = [found.fact for found in facts(stage, kind="IdentitySeenTwice")]
    assert [fact.body["jkts"] for fact in seen] == [["a", "b"]]
    assert seen[0].agent_id == "agent_bot"


def test_a_new_key_after_a_while_is_no_second_place(stage: Stage) -> None:
    """A restart an hour later is one place; two that go on are told again."""
    assert not told(stage, "a")
    stage.memory.time += timedelta(seconds=WINDOW)
    assert not told(stage, "b")
    assert told(stage, "a")
    stage.memory.time += timedelta(seconds=WINDOW)
    assert not told(stage, "a")
    assert told(stage, "b")


def test_pods_of_one_account_are_told_apart(stage: Stage) -> None:
    """Each pod has a key of its own; two keys in one pod are two places."""
    pods = [{"kubernetes.io/pod/uid": uid} for uid in ("p1", "p2")]
    assert [told(stage, "a", pods[0]), told(stage, "b", pods[1])] == [False, False]
    assert told(stage, "c", pods[1])


def test_jobs_of_ci_and_people_are_left_out(stage: Stage) -> None:
    """They have a key each, or no binding."""
    platforms = {"github": "github-actions", "gitlab": "gitlab"}
    stage.broker = replace(stage.broker, platforms=platforms)  # type: ignore[arg-type]
    for issuer in platforms:
        assert [told(stage, key, issuer=issuer) for key in ("a", "b")] == [False, False]
    person = replace(BOT, kind="person", binding_id=None)
    assert not tell_exchange(stage.broker, person, "people", ())
    assert not tell_exchange(stage.broker, replace(person, jkt="other"), "people", ())
