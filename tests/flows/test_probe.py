"""Stories of the broker's own probes: a credential that nobody gets shows whether a target works."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import facts, issued, kinds, lease_now, leases, sweep_until_quiet
from valetkey.clockwork import Beats, Clockwork
from valetkey.core.admission import Ceilings
from valetkey.core.catalogue import Catalogue
from valetkey.core.errors import MinterUnavailable, OutcomeUnknown
from valetkey.core.kill import Height
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.flows.kill import kill
from valetkey.flows.probe import Probed, last_probes, probe, probed_targets
from valetkey.ports import Broker
from valetkey.testing.brokers import Stage

TARGET, PROBE = "orders-db", Scope.parse("orders-db:read{region=eu}")
MINUTE = timedelta(minutes=1)


class Died(Exception):
    """The process died there."""


def probing(stage: Stage) -> Broker:
    """The stage's broker with a probe for its target."""
    before = stage.rules.catalogue
    targets = {TARGET: replace(before.targets[TARGET], probe=PROBE)}
    stage.rules.catalogue = Catalogue(targets, before.digest)
    return stage.broker


def seen(broker: Broker) -> Probed:
    """What a probe came to."""
    found = probe(broker, TARGET)
    assert found is not None
    return found


def only_lease(stage: Stage) -> Lease:
    """The one lease there is."""
    (lease,) = leases(stage)
    return lease


def outcomes(stage: Stage) -> list[str]:
    """What history says that probes came to, oldest first."""
    return [told.fact.outcome for told in facts(stage, kind="TargetProbed")]


def dies_at(broker: Broker, step: str) -> Broker:
    """The same broker in a process that dies there."""

    def fall(where: str) -> None:
        if where == step:
            raise Died()

    return replace(broker, failpoint=fall)


def test_a_probe_is_written_made_and_ended_and_nobody_gets_it(stage: Stage) -> None:
    """Its lease is of no agent and no task, and ends with a proof; no part of it is kept."""
    broker = probing(stage)
    assert seen(broker).outcome == "ok"
    lease = only_lease(stage)
    assert (lease.agent_id, lease.task_id, lease.grant_id, lease.owner) == (None, None, None, "")
    assert (lease.scope, lease.cut_by, lease.granted_ttl) == (str(PROBE), "probe", MINUTE)
    assert (lease.state, lease.proof, lease.end_reason) == (LeaseState.ENDED, Proof.VERIFIED, "probe")
    assert (lease.fingerprints, lease.activated_at, stage.minter.alive) == ((), None, {})
    told = ["LeaseWritten", "LeaseWithheld", "LeaseEnded", "TargetProbed"]
    assert kinds(stage, target=TARGET) == told
    assert stage.alarms.alarms == []


def test_a_target_is_told_of_when_it_changes_and_once_an_hour(stage: Stage) -> None:
    """Every probe leaves a lease, but only a change or an hour leaves a word of the target."""
    broker = probing(stage)
    for _ in range(5):
        seen(broker)
        stage.pass_time(MINUTE)
    assert outcomes(stage) == ["ok"]
    stage.pass_time(timedelta(hours=1))
    assert seen(broker).changed is False
    assert outcomes(stage) == ["ok", "ok"]


def test_a_target_that_cannot_mint_fails_and_is_alarmed_once(stage: Stage) -> None:
    """The alarm comes with the change, not with each probe; so does the word that it works again."""
    broker = probing(stage)
    seen(broker)
    stage.minter.fail_mint += [MinterUnavailable(), MinterUnavailable()]
    for changed in (True, False):
        found = seen(broker)
        assert (found.problem, found.changed) == ("minter_unavailable", changed)
        sweep_until_quiet(stage, 4 * MINUTE)
    assert outcomes(stage) == ["ok", "failed"]
    assert [what for what, _ in stage.alarms.alarms] == ["a target's probe failed"]
    assert last_probes(broker)[TARGET].fact.body["problem"] == "minter_unavailable"
    assert seen(broker).changed is True
    assert outcomes(stage) == ["ok", "failed", "ok"]
    assert stage.alarms.alarms[-1][0] == "a target's probe works again"
    assert {lease.state for lease in leases(stage)} == {LeaseState.ENDED}


def test_a_target_that_does_not_end_what_it_made_fails(stage: Stage) -> None:
    """Making one is half of it: while the last one is there no other is made, and that is told."""
    broker = probing(stage)
    stage.minter.fail_end += [MinterUnavailable() for _ in range(1000)]
    assert seen(broker).problem == "not_ended"
    stage.pass_time(MINUTE)
    assert seen(broker).problem == "not_ended"
    assert len(leases(stage)) == 1
    stage.minter.fail_end.clear()
    sweep_until_quiet(stage, 10 * MINUTE)
    assert only_lease(stage).proof is Proof.VERIFIED
    assert seen(broker).outcome == "ok"


def test_while_a_lost_answer_settles_no_other_probe_is_made(stage: Stage) -> None:
    """What may be in flight is waited for: a target that is away for days collects no leases."""
    broker = probing(stage)
    stage.minter.fail_after_mint.append(OutcomeUnknown())
    assert seen(broker).problem == "outcome_unknown"
    stage.pass_time(MINUTE)
    assert probe(broker, TARGET) is None
    assert len(leases(stage)) == 1
    sweep_until_quiet(stage, 4 * MINUTE)
    assert (only_lease(stage).proof, stage.minter.alive) == (Proof.VERIFIED, {})


@pytest.mark.parametrize("step", ["probe.written", "probe.minted"])
def test_a_broker_that_dies_in_a_probe_leaves_a_row_that_ends(stage: Stage, step: str) -> None:
    """Whatever it had made by then is found by that row and ended."""
    broker = probing(stage)
    with pytest.raises(Died):
        probe(dies_at(broker, step), TARGET)
    assert only_lease(stage).state is LeaseState.MINTING
    assert probe(broker, TARGET) is None
    sweep_until_quiet(stage, 5 * MINUTE)
    ended = only_lease(stage)
    assert (ended.state, ended.end_reason) == (LeaseState.ENDED, "mint_abandoned")
    assert stage.minter.alive == {}
    assert seen(broker).outcome == "ok"


@pytest.mark.parametrize(
    ("height", "subject"),
    [(Height.TARGET, TARGET), (Height.EVERYTHING, ""), (Height.SCOPE, "orders-db:read")],
)
def test_under_a_kill_nothing_is_probed(stage: Stage, height: Height, subject: str) -> None:
    """Not of the target, nor of everything, nor of the scope."""
    broker = probing(stage)
    kill(broker, stage.operator, height, subject, "incident")
    assert probe(broker, TARGET) is None
    assert leases(stage) == []


def test_a_kill_that_lands_in_a_probe_ends_it(stage: Stage) -> None:
    """It is marked while it is made; what was made ends all the same."""
    broker = probing(stage)
    stage.minter.after_mint = lambda: once(stage)
    probe(broker, TARGET)
    sweep_until_quiet(stage, 4 * MINUTE)
    ended = only_lease(stage)
    assert (ended.end_reason, ended.proof) == ("killed", Proof.VERIFIED)
    assert stage.minter.alive == {}


def once(stage: Stage) -> None:
    """Kill the target, the first time."""
    stage.minter.after_mint = lambda: None
    kill(stage.broker, stage.operator, Height.TARGET, TARGET, "incident")


def test_a_prober_that_froze_finds_its_lease_ended_and_reopens_it(stage: Stage) -> None:
    """It wakes after the second tap; its answer says that something exists, and that is ended."""
    broker = probing(stage)

    def frozen() -> None:
        sweep_until_quiet(stage, 5 * MINUTE)
        assert only_lease(stage).state is LeaseState.ENDED

    stage.minter.after_mint = frozen
    probe(broker, TARGET)
    sweep_until_quiet(stage, 5 * MINUTE)
    assert only_lease(stage).state is LeaseState.ENDED
    assert "LeaseReappeared" in kinds(stage)
    assert stage.minter.alive == {}
    assert stage.alarms.alarms[0][0].startswith("an ended lease was found")


def test_probes_leave_the_last_tenth_of_a_ceiling_to_whoever_asks(stage: Stage) -> None:
    """At nine of ten there is no probe; the tenth is a caller's."""
    limits = replace(stage.broker.limits, ceilings=Ceilings(target=10))
    broker = replace(probing(stage), limits=limits)
    task = stage.start()
    out = [issued(stage, stage.ask(task)).lease for _ in range(8)]
    assert seen(broker).outcome == "ok"
    out.append(issued(stage, stage.ask(task)).lease)
    assert probe(broker, TARGET) is None
    assert all(lease_now(stage, lease).state is LeaseState.ACTIVE for lease in out)


def test_a_target_that_is_left_alone_is_failed_without_a_lease(stage: Stage) -> None:
    """Nothing is written for what will not be asked; its own trials go on."""
    broker = probing(stage)
    broker.lanes.leave_alone(TARGET)
    assert seen(broker).problem == "minter_unavailable"
    assert leases(stage) == []


def test_a_target_left_alone_that_cannot_be_looked_at_gets_no_lease(stage: Stage) -> None:
    """A look of our own comes first, so that none waits out its second tap for nothing."""
    broker = probing(stage)
    broker.lanes.leave_alone(TARGET)
    stage.minter.fail_probe.append(MinterUnavailable())
    assert seen(broker).problem == "minter_unavailable"
    assert (leases(stage), stage.minter.fail_probe) == ([], [])


def test_a_target_without_a_probe_is_never_tried(stage: Stage) -> None:
    """The catalogue says which; a name that is not in it is none."""
    assert probed_targets(stage.broker) == []
    assert probe(stage.broker, TARGET) is None
    assert probe(probing(stage), "nothing") is None
    assert leases(stage) == []


def test_one_replica_leads_each_turn_and_all_know_what_came_of_it(stage: Stage) -> None:
    """Two clocks in one turn make one probe; both tell its outcome."""
    broker = probing(stage)
    clocks = [Clockwork(broker, Beats(probe=MINUTE)) for _ in range(2)]
    for clockwork in clocks:
        clockwork.try_targets()
    assert len(leases(stage)) == 1
    assert [clockwork.outcomes for clockwork in clocks] == [{TARGET: "ok"}] * 2
    assert [list(clockwork.took) for clockwork in clocks] == [[TARGET], []]
    stage.pass_time(MINUTE)
    clocks[1].try_targets()
    assert len(leases(stage)) == 2
