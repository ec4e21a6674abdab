"""Stories of the doctor: what is wrong outside is named, with its lease, and nothing is changed."""

from __future__ import annotations

from datetime import timedelta

from tests.flows.stories import issued, kinds, lease_now
from tests.flows.test_reconcile import out, stray
from valetkey.core.invariants import Violation
from valetkey.core.lease import Proof
from valetkey.flows.doctor import doctor
from valetkey.flows.doctor_outside import SAMPLE, ends_asked
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage

HOUR = timedelta(hours=1)


def named(found: list[Violation]) -> list[tuple[str, str]]:
    """Invariant and subject of each."""
    return [(x.invariant, x.about) for x in found]


def test_all_is_well_while_credentials_are_out_and_after(stage: Stage) -> None:
    """Minted, renewed in no way, ended: no violation, and no fact of the doctor's own."""
    (lease, *_) = out(stage, 3)
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    before = kinds(stage)
    assert doctor(stage.broker) == []
    assert kinds(stage) == before


def test_an_object_without_a_lease_breaks_i1(stage: Stage) -> None:
    """Named by what it is called outside."""
    name = stray(stage)
    assert named(doctor(stage.broker)) == [("I1", name)]


def test_what_another_epoch_of_ours_left_breaks_i1_until_it_is_adopted(stage: Stage) -> None:
    """After a restore, what was issued in the lost time is alive and nobody knows it."""
    name = stray(stage, "abcdefe4")
    assert named(doctor(stage.broker)) == [("I1", name)]


def test_another_installations_object_breaks_nothing_of_ours(stage: Stage) -> None:
    """Reconcile reports it."""
    stray(stage, "vutsrqe1")
    assert doctor(stage.broker) == []


def test_an_object_past_its_end_breaks_i2(stage: Stage) -> None:
    """Called active, and there: both are named."""
    (lease,) = out(stage)
    stage.pass_time(2 * HOUR)
    assert {x for x in named(doctor(stage.broker)) if x[0] == "I2"} == {("I2", lease.id)}


def test_a_target_or_back_end_that_takes_it_longer_than_recorded_breaks_i3(stage: Stage) -> None:
    """Seen in the list of what is there, and by asking."""
    (lease,) = out(stage)
    stage.minter.until[lease.handle.name] = lease.backend_expires_at + HOUR
    details = [x.detail for x in doctor(stage.broker) if (x.invariant, x.about) == ("I3", lease.id)]
    assert len(details) == 2
    stage.minter.until[lease.handle.name] = lease.backend_expires_at
    assert doctor(stage.broker) == []


def test_the_newest_are_asked_for_their_ends_and_it_is_said_of_how_many(stage: Stage) -> None:
    """One call each, so that older ones are found only where the target tells of them."""
    leases = out(stage, SAMPLE + 2)
    for lease in leases:
        stage.minter.until[lease.handle.name] = lease.backend_expires_at + HOUR
    found = [x.about for x in doctor(stage.broker) if "at the back end" in x.detail]
    assert sorted(found) == sorted(lease.id for lease in leases)[2:]
    assert ends_asked(stage.broker) == (SAMPLE, SAMPLE + 2)


def test_an_ended_leases_object_breaks_i4_and_is_left_alone(stage: Stage) -> None:
    """The doctor only looks; reconcile acts."""
    (lease,) = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    stage.minter.alive[lease.handle.name] = lease.id
    assert named(doctor(stage.broker)) == [("I4", lease.id)]
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    assert lease.handle.name in stage.minter.alive


def test_a_clock_that_is_far_off_breaks_i17(stage: Stage) -> None:
    """Named by the target at which it was seen."""
    stage.minter.apart = timedelta(seconds=30)
    assert named(doctor(stage.broker)) == [("I17", "orders-db")]


def test_a_target_that_is_away_is_named_and_hides_no_other(stage: Stage) -> None:
    """What is at the others is looked at all the same."""
    stage.minter.known_targets = ("orders-db", "ledger-db")
    stage.minter.away.add("orders-db")
    name = stray(stage, target="ledger-db")
    assert named(doctor(stage.broker)) == [("I1", "orders-db"), ("I1", name)]


def test_what_ends_while_the_doctor_looks_breaks_nothing(stage: Stage) -> None:
    """It was listed, then ended with proof: a second look prevents a false alarm."""
    task = stage.start()
    lease = issued(stage, stage.ask(task)).lease

    def end() -> None:
        stage.minter.after_found = lambda: None
        revoke_lease(stage.broker, stage.operator, lease.id)
        sweep(stage.broker)

    stage.minter.after_found = end
    assert doctor(stage.broker) == []
