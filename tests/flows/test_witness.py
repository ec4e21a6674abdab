"""Stories of copies: which side was restored, or runs twice, shows in what the witness holds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.flows.stories import issued, kinds
from tests.flows.test_reconcile import out, stray
from valetkey.core.comparison import Order
from valetkey.core.errors import BrokerError, Killed, MinterRefused, MinterUnavailable, TaskEnded
from valetkey.core.tally import Doubt
from valetkey.flows.approve import time_out_grants
from valetkey.flows.end_task import end_overdue_tasks
from valetkey.flows.kill import enforce_kills
from valetkey.flows.new_epoch import highest_epoch, new_epoch
from valetkey.flows.reconcile import reconcile
from valetkey.flows.sweep import sweep
from valetkey.flows.witness import doubts, note_tally
from valetkey.ports import Broker
from valetkey.testing.brokers import Stage
from valetkey.testing.fake_witness import FakeWitness

ORDER = Order("opal", "the copy is known")


@pytest.fixture
def witness() -> FakeWitness:
    """A witness that has seen nothing yet."""
    return FakeWitness()


@pytest.fixture
def broker(stage: Stage, witness: FakeWitness) -> Broker:
    """The stage's broker with a witness."""
    return replace(stage.broker, witnesses={"fake": witness})


def noted(witness: FakeWitness) -> int:
    """How far the witness is."""
    return witness.notes["abcdefe1"].tally.number


def test_each_comparison_notes_another_tally(broker: Broker, witness: FakeWitness) -> None:
    """Our database and the witness go on together, and nobody doubts either."""
    for number in (1, 2, 3):
        assert not reconcile(broker, "fake").waits
        assert noted(witness) == number
    assert len({x.tally.word for x in witness.notes.values()}) == 1


def test_a_database_restored_from_an_older_copy_is_noticed(
    broker: Broker, stage: Stage, witness: FakeWitness
) -> None:
    """The witness remembers more: nothing is touched, whatever anybody orders."""
    reconcile(broker, "fake")
    older = copy.deepcopy(stage.memory.state)
    reconcile(broker, "fake")
    stage.memory.state = older
    name = stray(stage)
    for order in (None, ORDER):
        assert reconcile(broker, "fake", order).held == {"orders-db": Doubt.WE_ARE_OLDER}
    assert name in stage.minter.alive
    assert kinds(stage).count("ReconcileHeld") == 1
    assert noted(witness) == 2


def test_a_copy_from_before_any_tally_is_noticed_too(broker: Broker, stage: Stage) -> None:
    """It knows of no tally, and the witness does."""
    older = copy.deepcopy(stage.memory.state)
    reconcile(broker, "fake")
    stage.memory.state = older
    assert doubts(broker, "fake") == Doubt.WE_ARE_OLDER


def test_a_twin_beside_the_original_is_noticed_by_one_of_them(
    broker: Broker, stage: Stage
) -> None:
    """Whoever comes second finds a tally that it never had, and touches nothing."""
    reconcile(broker, "fake")
    twin = Stage()
    twin.memory.state = copy.deepcopy(stage.memory.state)
    second = replace(
        twin.broker, witnesses=broker.witnesses, minters=broker.minters, new_id=lambda kind: "twin"
    )
    assert doubts(second, "fake") is None
    reconcile(broker, "fake")
    stray(stage)
    assert "orders-db" in reconcile(second, "fake").held
    assert len(reconcile(broker, "fake").unknown) == 1, "the original goes on"


def test_a_witness_restored_from_an_older_copy_waits_for_an_order(
    broker: Broker, stage: Stage, witness: FakeWitness
) -> None:
    """Our database is the original, a human says, and we go on above both."""
    reconcile(broker, "fake")
    older = dict(witness.notes)
    for _ in range(3):
        reconcile(broker, "fake")
    witness.notes = older
    name = stray(stage)
    assert reconcile(broker, "fake").held == {"orders-db": Doubt.WITNESS_IS_OLDER}
    assert name in stage.minter.alive
    assert len(reconcile(broker, "fake", ORDER).unknown) == 1
    assert noted(witness) > 4
    assert not reconcile(broker, "fake").waits


def test_a_cleared_witness_waits_for_an_order_too(broker: Broker, witness: FakeWitness) -> None:
    """Somebody deleted the note."""
    reconcile(broker, "fake")
    witness.notes.clear()
    assert doubts(broker, "fake") == Doubt.WITNESS_IS_OLDER
    reconcile(broker, "fake", ORDER)
    assert doubts(broker, "fake") is None


@pytest.mark.parametrize("step", ["tally.written", "tally.noted"])
def test_a_process_that_dies_while_it_notes_leaves_no_doubt(broker: Broker, step: str) -> None:
    """Before and after the note is outside: the next one goes on."""
    reconcile(broker, "fake")
    with pytest.raises(KeyboardInterrupt):
        note_tally(replace(broker, failpoint=_stop_at(step)), "fake")
    assert doubts(broker, "fake") is None
    assert not reconcile(broker, "fake").waits
    assert doubts(broker, "fake") is None


@pytest.mark.parametrize("problem", [MinterUnavailable(), MinterRefused()])
def test_a_witness_that_cannot_be_asked_is_a_problem_and_no_doubt(
    broker: Broker, stage: Stage, witness: FakeWitness, problem: BrokerError
) -> None:
    """The comparison goes on, and says so."""
    witness.fail.append(problem)
    stray(stage)
    comparison = reconcile(broker, "fake")
    assert list(comparison.problems) == ["witness"]
    assert len(comparison.unknown) == 1


def test_a_new_epoch_stops_everything_until_people_release_it(
    broker: Broker, stage: Stage, witness: FakeWitness
) -> None:
    """Tasks and leases of the copy end, nothing is issued, and it is on record who did it."""
    reconcile(broker, "fake")
    (lease,) = out(stage)
    task = stage.start()
    epoch = new_epoch(broker.store, stage.new_id, "opal", "restored", highest_epoch(broker))
    assert (epoch.installation, epoch.before, epoch.tasks) == ("abcdefe2", "abcdefe1", 2)
    assert kinds(stage)[-2:] == ["EpochBegun", "KillOrdered"]
    with pytest.raises(TaskEnded):
        issued(stage, stage.ask(task))
    with pytest.raises(Killed):
        stage.start()
    renamed = replace(broker, installation=epoch.installation)
    for duty in (time_out_grants, end_overdue_tasks, enforce_kills, sweep):
        duty(renamed)
    with broker.store.transaction() as tx:
        assert {x.ended_at is None for x in tx.tasks(None, None)} == {False}
        assert not tx.unended_leases()
    assert lease.handle.name not in stage.minter.alive
    assert not reconcile(renamed, "fake").waits
    assert witness.installations() == ["abcdefe1", "abcdefe2"]


def test_a_new_epoch_is_above_every_one_that_was_ever_used(
    broker: Broker, stage: Stage, witness: FakeWitness
) -> None:
    """A copy from before an earlier epoch must not take that one again."""
    reconcile(broker, "fake")
    witness.notes["abcdefe4"] = witness.notes["abcdefe1"]
    witness.notes["vutsrqe9"] = witness.notes["abcdefe1"]
    assert highest_epoch(broker) == 4
    stray(stage, "abcdefe6")
    assert highest_epoch(broker) == 6
    epoch = new_epoch(broker.store, stage.new_id, "opal", "restored", highest_epoch(broker))
    assert epoch.installation == "abcdefe7"


def _stop_at(step: str) -> Callable[[str], None]:
    """A fail point at which the process is gone."""

    def stop(reached: str) -> None:
        if reached == step:
            raise KeyboardInterrupt

    return stop
