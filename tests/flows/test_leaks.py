"""Leaks: what a value opens ends, who may know hears where it is from, nobody else hears anything."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from valetkey.core.facts import Fact, FactKind, HistoryQuery
from valetkey.core.lease import LeaseState
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.report_leak import report_leak
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Issued
from valetkey.testing.brokers import Stage


def keyed(key: str, part: str) -> str:
    """A fingerprint under a key."""
    return f"{key}:{hashlib.sha256((key + part).encode()).hexdigest()}"


@pytest.fixture
def stage() -> Stage:
    """A stage with real fingerprints under one key."""
    made = Stage()
    made.broker = replace(made.broker, fingerprint=lambda part: keyed("new", part))
    return made


@pytest.fixture
def auditor(stage: Stage) -> Caller:
    """Somebody who may read everything."""
    return stage.person("ada@example.com", roles={"auditor"})


def issued(stage: Stage, task: Task) -> tuple[str, str]:
    """A lease's id and its secret part."""
    given = request_credential(stage.broker, stage.bot, stage.ask(task))
    assert isinstance(given, Issued)
    (secret,) = given.secret.parts().values()
    return given.lease.id, secret


def state(stage: Stage, lease_id: str) -> LeaseState:
    """Where a lease stands."""
    return stage.memory.state.leases[lease_id].state


def reports(stage: Stage) -> list[Fact]:
    """The facts of reports, oldest first."""
    with stage.broker.store.transaction() as tx:
        found = tx.history(HistoryQuery(kind=FactKind.LEAK_REPORTED.value))
    return [entry.fact for entry in found][::-1]


def test_a_leaked_value_ends_its_lease_at_once(stage: Stage) -> None:
    """The back end was asked to end it before the report is answered; the rest of the task lives."""
    task = stage.start()
    leaked, secret = issued(stage, task)
    other, _ = issued(stage, task)
    assert report_leak(stage.broker, stage.bot, secret) == []
    assert state(stage, leaked) is LeaseState.ENDED
    assert stage.memory.state.leases[leaked].end_reason == "leaked"
    assert state(stage, other) is LeaseState.ACTIVE
    (fact,) = reports(stage)
    assert (fact.outcome, fact.lease_id, fact.owner) == ("known", leaked, stage.agent.owner)
    assert fact.body["ended"] == [leaked]
    assert fact.body["fingerprint"] == keyed("new", secret)


def test_siblings_end_too_where_that_is_the_rule(stage: Stage) -> None:
    """Everything of the same task, and nothing of another."""
    limits = replace(stage.broker.limits, leak_ends_siblings=True)
    stage.broker = replace(stage.broker, limits=limits)
    task = stage.start()
    sibling, _ = issued(stage, task)
    leaked, secret = issued(stage, task)
    other, _ = issued(stage, stage.start())
    report_leak(stage.broker, stage.owner, secret)
    ends = {x: stage.memory.state.leases[x].end_reason for x in (leaked, sibling, other)}
    assert ends == {leaked: "leaked", sibling: "sibling_leaked", other: None}
    assert reports(stage)[0].body["ended"] == [leaked, sibling]


def test_operators_and_auditors_hear_where_it_is_from(stage: Stage, auditor: Caller) -> None:
    """Lease, task, agent, owner and rule in one call; owners and agents hear nothing."""
    task = stage.start()
    leaked, secret = issued(stage, task)
    assert report_leak(stage.broker, stage.owner, secret) == []
    assert report_leak(stage.broker, stage.bot, secret) == []
    for caller in (auditor, stage.operator):
        (found,) = report_leak(stage.broker, caller, secret)
        assert found.lease.id == leaked
        assert found.task == task and found.agent is not None
        assert found.agent.agent.name == "refund-bot"
        assert found.decision is not None and found.decision["rules"] == ["table"]
        assert found.facts[-1].fact.kind is FactKind.LEAK_REPORTED


def test_an_unknown_value_leaves_one_fact_and_no_alarm(stage: Stage, auditor: Caller) -> None:
    """With its fingerprint, about nobody; there is nothing to hear even for an auditor."""
    task = stage.start()
    lease, _ = issued(stage, task)
    assert report_leak(stage.broker, auditor, "no-secret-of-ours") == []
    (fact,) = reports(stage)
    assert (fact.outcome, fact.lease_id, fact.agent_id) == ("unknown", None, None)
    assert fact.body == {"fingerprint": keyed("new", "no-secret-of-ours")}
    assert state(stage, lease) is LeaseState.ACTIVE
    assert not stage.alarms.alarms


def test_a_known_value_calls_a_human(stage: Stage) -> None:
    """The alarm names lease, target and owner, never the value."""
    leaked, secret = issued(stage, stage.start())
    report_leak(stage.broker, stage.bot, secret)
    ((what, about),) = stage.alarms.alarms
    assert "leaked" in what and about["lease"] == leaked
    assert secret not in str(about)


def test_what_was_minted_under_an_older_key_is_found(stage: Stage) -> None:
    """As long as the key is kept."""
    leaked, secret = issued(stage, stage.start())
    stage.broker = replace(stage.broker, fingerprint=lambda part: keyed("newer", part))
    report_leak(stage.broker, stage.bot, secret)
    assert state(stage, leaked) is LeaseState.ACTIVE
    older = (lambda part: keyed("old", part), lambda part: keyed("new", part))
    stage.broker = replace(stage.broker, older_fingerprints=older)
    report_leak(stage.broker, stage.bot, secret)
    assert state(stage, leaked) is LeaseState.ENDED
    assert [fact.outcome for fact in reports(stage)] == ["unknown", "known"]


def test_a_leak_of_what_has_ended_is_on_record_and_changes_nothing(stage: Stage) -> None:
    """The lease stays as it ended; reporting twice is fine."""
    leaked, secret = issued(stage, stage.start())
    report_leak(stage.broker, stage.bot, secret)
    before = stage.memory.state.leases[leaked]
    report_leak(stage.broker, stage.bot, secret)
    assert stage.memory.state.leases[leaked] == before
    assert [fact.body["ended"] for fact in reports(stage)] == [[leaked], []]


@pytest.mark.parametrize("known", [True, False])
def test_the_answer_comes_at_a_step_of_time_either_way(stage: Stage, known: bool) -> None:
    """However long the work took, what is waited for ends at the next quarter of a second."""
    _, secret = issued(stage, stage.start())
    began = stage.clock.seconds
    report_leak(stage.broker, stage.bot, secret if known else "x")
    assert stage.clock.seconds - began == 0.25
    stage.minter.after_end = lambda: stage.clock.wait(0.3)
    _, secret = issued(stage, stage.start())
    began = stage.clock.seconds
    report_leak(stage.broker, stage.bot, secret if known else "x")
    assert stage.clock.seconds - began == pytest.approx(0.5 if known else 0.25)
