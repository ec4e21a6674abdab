"""Stories of comparing: our leases against what really exists outside, both ways."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

from tests.flows.stories import MOMENT, facts, issued, kinds, lease_now, leases
from valetkey.core.ask import LONGEST_TTL
from valetkey.core.comparison import Order
from valetkey.core.errors import MinterUnavailable
from valetkey.core.ids import LeaseId, Mark
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.flows.reconcile import leads, reconcile
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.flows.witness import RENAMED
from valetkey.testing.brokers import Stage


def out(stage: Stage, count: int = 1) -> list[Lease]:
    """Credentials that are out."""
    task = stage.start()
    return [issued(stage, stage.ask(task)).lease for _ in range(count)]


def stray(stage: Stage, installation: str = "", target: str = "orders-db") -> str:
    """An object outside with a mark that no lease of ours has."""
    lease_id = LeaseId(stage.new_id("lease"))
    mark = Mark.of(installation or stage.minter.installation, "0" * 12, lease_id)
    stage.minter.alive[str(mark)] = lease_id
    stage.minter.at[str(mark)] = target
    return str(mark)


def test_when_both_sides_agree_nothing_happens(stage: Stage) -> None:
    """No fact, no move."""
    out(stage, 3)
    before = kinds(stage)
    comparison = reconcile(stage.broker, "fake")
    assert (comparison.seen, comparison.waits) == (3, False)
    assert kinds(stage) == before


def test_an_object_for_an_ended_lease_reopens_it(stage: Stage) -> None:
    """LeaseReappeared is the only way out of ENDED; a human is told, and it is ended again."""
    (lease,) = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    stage.minter.alive[lease.handle.name] = lease.id
    assert reconcile(stage.broker, "fake").reappeared == [lease.id]
    reopened = lease_now(stage, lease)
    assert (reopened.state, reopened.proof, reopened.ended_at) == (LeaseState.ENDING, None, None)
    assert [about["lease"] for _, about in stage.alarms.alarms] == [lease.id]
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    assert stage.minter.alive == {}
    assert kinds(stage).count("LeaseReappeared") == 1


def test_an_unknown_object_with_our_mark_is_adopted_and_ended(stage: Stage) -> None:
    """Somebody must answer for it: it gets a lease, and that lease ends."""
    name = stray(stage)
    assert len(reconcile(stage.broker, "fake").unknown) == 1
    adopted = leases(stage)[0]
    assert (adopted.handle.name, adopted.state) == (name, LeaseState.ENDING)
    assert adopted.still_valid_until == stage.broker.store.now() + LONGEST_TTL
    assert reconcile(stage.broker, "fake").unknown == []
    sweep(stage.broker)
    assert stage.minter.alive == {}
    stage.pass_time(stage.broker.patience.second_tap)
    sweep(stage.broker)
    assert lease_now(stage, adopted).proof is Proof.VERIFIED


def test_a_missing_object_ends_its_lease_as_vanished(stage: Stage) -> None:
    """We looked, and there is nothing: verified, with the reason."""
    gone, stays = out(stage, 2)
    del stage.minter.alive[gone.handle.name]
    assert reconcile(stage.broker, "fake").vanished == [gone.id]
    ended = lease_now(stage, gone)
    assert (ended.end_reason, ended.proof) == ("vanished", Proof.VERIFIED)
    assert lease_now(stage, stays).state is LeaseState.ACTIVE
    assert kinds(stage)[-1] == "LeaseVanished"


def test_what_cannot_be_looked_at_is_not_called_vanished(stage: Stage) -> None:
    """A list that lacks it is no proof without a look."""
    (lease,) = out(stage)
    stage.minter.looks = False
    stage.minter.alive.clear()
    assert reconcile(stage.broker, "fake").vanished == []
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


def test_a_foreign_mark_is_reported_and_not_touched(stage: Stage) -> None:
    """Another installation's object is not ours to end; people are told."""
    name = stray(stage, "vutsrqe1")
    comparison = reconcile(stage.broker, "fake")
    assert (comparison.foreign, comparison.waits) == ([name], True)
    sweep(stage.broker)
    assert name in stage.minter.alive
    assert facts(stage, kind="ForeignMarkSeen")[0].fact.body["names"] == [name]
    assert len(stage.alarms.alarms) == 1
    assert leases(stage) == []


def test_another_epochs_object_waits_for_an_order_that_names_its_epoch(stage: Stage) -> None:
    """By somebody, for a reason, on record; only that epoch's is adopted, and then ended."""
    before, later = stray(stage, "abcdefe0"), stray(stage, "abcdefe2")
    comparison = reconcile(stage.broker, "fake")
    assert comparison.other_epochs == [before, later]
    assert (comparison.foreign, comparison.waits, leases(stage)) == ([], True, [])
    adopted = reconcile(stage.broker, "fake", Order("opal", "the copy was of Monday", epoch=2))
    assert (adopted.other_epochs, len(adopted.unknown)) == ([before], 1)
    for _ in range(2):
        sweep(stage.broker)
        stage.pass_time(stage.broker.patience.second_tap + MOMENT)
    assert set(stage.minter.alive) == {before}
    (told,) = facts(stage, kind="ReconcileOrdered")
    assert told.fact.by == "shell opal"
    assert told.fact.body["untrusted_reason"] == "the copy was of Monday"


def test_an_order_about_an_epoch_does_not_act_on_what_is_held(stage: Stage) -> None:
    """Each has to be ordered for itself."""
    live = out(stage, 8)
    stage.minter.alive.clear()
    stray(stage, "abcdefe2")
    comparison = reconcile(stage.broker, "fake", Order("opal", "the copy", epoch=2))
    assert (len(comparison.unknown), comparison.vanished) == (1, [])
    assert comparison.missing == [x.id for x in live]
    assert "orders-db" in comparison.held


def test_an_older_epochs_lease_that_we_know_is_ours_as_before(stage: Stage) -> None:
    """After a new epoch the leases of the copy keep their names, live on, and end."""
    (lease,) = out(stage)
    with stage.broker.store.transaction() as tx:
        tx.begin_epoch(1)
    broker = replace(stage.broker, installation="abcdefe2")
    comparison = reconcile(broker, "fake")
    assert (comparison.seen, comparison.waits) == (1, False)
    revoke_lease(broker, stage.operator, lease.id)
    sweep(broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_a_replica_under_an_older_name_touches_nothing(stage: Stage) -> None:
    """The database has a new epoch; whoever still runs under the old one only says so."""
    name = stray(stage)
    with stage.broker.store.transaction() as tx:
        tx.begin_epoch(1)
    comparison = reconcile(stage.broker, "fake", Order("opal", "anyway"))
    assert comparison.held == {"orders-db": RENAMED}
    assert name in stage.minter.alive


def test_a_large_difference_is_held_for_a_human(stage: Stage) -> None:
    """It looks like a restored backup: report and alarm, but touch nothing."""
    live = out(stage, 8)
    stage.minter.alive.clear()
    comparison = reconcile(stage.broker, "fake")
    assert "orders-db" in comparison.held
    assert comparison.vanished == []
    assert {lease_now(stage, x).state for x in live} == {LeaseState.ACTIVE}
    assert kinds(stage)[-1] == "ReconcileHeld"
    assert len(stage.alarms.alarms) == 1
    acted = reconcile(stage.broker, "fake", Order("opal", "the copy is known"))
    assert len(acted.vanished) == 8


def test_many_reappeared_leases_are_held_too(stage: Stage) -> None:
    """A restored back end shows as many objects of ended leases."""
    ended = out(stage, 8)
    for lease in ended:
        revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    stage.minter.alive.update({x.handle.name: x.id for x in ended})
    assert reconcile(stage.broker, "fake").held
    assert {lease_now(stage, x).state for x in ended} == {LeaseState.ENDED}


def test_an_object_ended_while_we_compared_does_not_reopen_its_lease(stage: Stage) -> None:
    """It was listed, then ended with proof: one more look prevents a false alarm."""
    (lease,) = out(stage)
    stage.minter.after_found = lambda: ends(stage, lease)
    assert reconcile(stage.broker, "fake").reappeared == []
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    assert stage.alarms.alarms == []


def ends(stage: Stage, lease: Lease) -> None:
    """The operator ends the lease, with proof."""
    with stage.broker.store.transaction() as tx:
        current = tx.lease(lease.id)
        assert current is not None
        tx.save_lease(current.ended(Proof.VERIFIED, tx.now()))
    stage.minter.alive.pop(lease.handle.name, None)


def test_a_minter_that_is_away_is_a_problem_and_no_difference(stage: Stage) -> None:
    """Not being able to list is not an empty list."""
    (lease,) = out(stage)
    stage.minter.fail_found.append(MinterUnavailable())
    comparison = reconcile(stage.broker, "fake")
    assert comparison.problems == {"orders-db": "minter_unavailable"}
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


def test_a_lease_being_minted_or_ended_is_left_to_its_own_path(stage: Stage) -> None:
    """Neither its presence nor its absence is odd while something works on it."""
    seen: list[object] = []
    stage.minter.before_mint = lambda: seen.append(reconcile(stage.broker, "fake"))
    stage.minter.after_mint = lambda: seen.append(reconcile(stage.broker, "fake"))
    (lease,) = out(stage)
    stage.pass_time(timedelta(minutes=5) + MOMENT)
    assert lease_now(stage, lease).state is LeaseState.ACTIVE
    assert [(x.unknown, x.vanished, x.reappeared) for x in seen] == [([], [], [])] * 2  # type: ignore[attr-defined]


def test_no_transaction_is_open_while_the_back_end_is_asked(stage: Stage) -> None:
    """A back end that hangs holds up nobody else: the store is free meanwhile."""
    out(stage)
    free: list[bool] = []

    def look_elsewhere() -> None:
        other = threading.Thread(target=lambda: leases(stage), daemon=True)
        other.start()
        other.join(5)
        free.append(not other.is_alive())

    stage.minter.after_found = look_elsewhere
    reconcile(stage.broker, "fake")
    assert free == [True]


def test_the_same_foreign_mark_is_told_once_an_hour(stage: Stage) -> None:
    """It stays until a human sees to it, and must not fill the disk until then."""
    stray(stage, "vutsrqe1")
    for _ in range(3):
        reconcile(stage.broker, "fake")
    assert kinds(stage).count("ForeignMarkSeen") == 1
    stray(stage, "vutsrqe1")
    reconcile(stage.broker, "fake")
    assert kinds(stage).count("ForeignMarkSeen") == 2, "another one is news"


def test_one_that_cannot_be_looked_at_does_not_hide_another_that_vanished(stage: Stage) -> None:
    """It stays active, and the next comparison sees to it."""
    unseen, gone = out(stage, 2)
    stage.minter.alive.clear()
    stage.minter.fail_probe.append(MinterUnavailable())
    assert reconcile(stage.broker, "fake").vanished == [gone.id]
    assert lease_now(stage, unseen).state is LeaseState.ACTIVE
    assert reconcile(stage.broker, "fake").vanished == [unseen.id]


def test_a_target_that_is_away_holds_up_no_other(stage: Stage) -> None:
    """What is at the others is compared; its own leases are neither missing nor vanished."""
    (lease,) = out(stage)
    stage.minter.known_targets = ("orders-db", "ledger-db")
    name = stray(stage, target="ledger-db")
    stage.minter.away.add("orders-db")
    stage.minter.alive.pop(lease.handle.name)
    comparison = reconcile(stage.broker, "fake")
    assert comparison.problems == {"orders-db": "minter_unavailable"}
    assert (len(comparison.unknown), comparison.vanished) == (1, [])
    assert {x.handle.name for x in leases(stage) if x.target == "ledger-db"} == {name}
    assert lease_now(stage, lease).state is LeaseState.ACTIVE


def test_an_object_seen_through_two_targets_is_one(stage: Stage) -> None:
    """Two targets on one server show the same roles: a lease is known by its name from both."""
    (lease,) = out(stage)
    found = stage.minter.found
    stage.minter.known_targets = ("ledger-db", "orders-db")
    stage.minter.at[lease.handle.name] = "orders-db"
    stage.minter.found = lambda target: found("orders-db")  # type: ignore[method-assign]
    comparison = reconcile(stage.broker, "fake")
    assert (comparison.seen, comparison.unknown, comparison.vanished) == (1, [], [])


def test_one_targets_large_difference_holds_only_that_target(stage: Stage) -> None:
    """One database restored from a backup is one target's matter, however many others are well."""
    live = out(stage, 18)
    stage.minter.known_targets = ("orders-db", "ledger-db")
    for _ in range(6):
        stray(stage, target="ledger-db")
    (gone, *_) = live
    del stage.minter.alive[gone.handle.name]
    comparison = reconcile(stage.broker, "fake")
    assert list(comparison.held) == ["ledger-db"]
    assert (comparison.vanished, comparison.unknown) == ([gone.id], [])


def test_targets_with_leases_that_nobody_looks_at_are_named(stage: Stage) -> None:
    """A target that left the catalogue is not silently taken for well."""
    out(stage)
    stage.minter.known_targets = ("ledger-db",)
    assert reconcile(stage.broker, "fake").unlooked == ["orders-db"]


def test_one_replica_leads_in_each_turn(stage: Stage) -> None:
    """The first to ask does the duty, the others not; in the next turn anybody may."""
    every = timedelta(minutes=1)
    assert [leads(stage.broker, "reconcile fake", every) for _ in range(3)] == [True, False, False]
    assert leads(stage.broker, "reconcile other", every)
    stage.pass_time(every)
    assert leads(stage.broker, "reconcile fake", every)
