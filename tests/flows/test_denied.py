"""Stories of what can only be refused at our word: denied is no end, and is looked at again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import MOMENT, facts, issued, kinds, lease_now
from valetkey.core.errors import MintedTooLong, MinterUnavailable
from valetkey.core.facts import FactKind
from valetkey.core.lease import DeniedHow, Handle, Lease, LeaseState, Proof
from valetkey.core.outside import Denied, Lapse
from valetkey.flows.doctor import doctor
from valetkey.flows.reassert import reassert
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.testing.brokers import Stage

QUARTER = timedelta(minutes=15)
PLACE = "fake role"


def out(stage: Stage) -> Lease:
    """A credential that is out, of a back end that can only refuse it."""
    stage.minter.denies = True
    stage.minter.place = "role"
    return issued(stage, stage.ask(stage.start())).lease


def revoked(stage: Stage) -> Lease:
    """One that is refused by now."""
    lease = out(stage)
    revoke_lease(stage.broker, stage.operator, lease.id)
    sweep(stage.broker)
    return lease_now(stage, lease)


def test_a_denied_lease_is_not_ended_until_its_own_end_has_passed(stage: Stage) -> None:
    """It stays ending, says since when and how it is refused, and until when it lives."""
    denied = revoked(stage)
    assert denied.state is LeaseState.ENDING
    assert (denied.denied_at, denied.denied_how) == (stage.broker.store.now(), DeniedHow.ASSERTED)
    assert denied.still_valid_until == denied.backend_expires_at
    told = facts(stage, lease_id=denied.id)[-1].fact
    assert (told.kind, told.outcome) == (FactKind.LEASE_DENIED, "asserted")
    stage.pass_time(denied.backend_expires_at - stage.broker.store.now() - MOMENT)
    assert sweep(stage.broker) == 0
    stage.pass_time(MOMENT)
    sweep(stage.broker)
    ended = lease_now(stage, denied)
    assert (ended.state, ended.proof) == (LeaseState.ENDED, Proof.EXPIRED)
    assert ended.denied_at == denied.denied_at


def test_a_lapse_makes_it_due_at_once_and_refused_only_when_that_is_found(stage: Stage) -> None:
    """Between the lapse and the next tap nothing says that it is refused; and people are told."""
    denied = revoked(stage)
    stage.pass_time(MOMENT)
    stage.minter.lapses = [Lapse(PLACE, "it was deleted")]
    assert reassert(stage.broker) == 1
    open_again = lease_now(stage, denied)
    assert (open_again.denied_at, open_again.denied_how) == (None, None)
    assert open_again.due_at == stage.broker.store.now()
    assert kinds(stage)[-1] == "DenialLapsed"
    assert "undone outside" in stage.alarms.alarms[-1][0]
    stage.pass_time(MOMENT)
    sweep(stage.broker)
    assert lease_now(stage, denied).denied_at == stage.broker.store.now()
    assert reassert(stage.broker) == 0


def test_a_lapse_of_what_has_ended_changes_nothing(stage: Stage) -> None:
    """The list may name what is over by now."""
    denied = revoked(stage)
    stage.pass_time(denied.backend_expires_at - stage.broker.store.now())
    sweep(stage.broker)
    before = kinds(stage)
    stage.minter.lapses = [Lapse(PLACE, "it was deleted")]
    reassert(stage.broker)
    assert kinds(stage) == before


def test_a_minter_that_cannot_look_keeps_none_of_the_others_from_looking(stage: Stage) -> None:
    """All are asked; then the trouble is said."""

    class Away(type(stage.minter)):  # type: ignore[misc]
        def reassert(self, *, renew: bool = True) -> list[Lapse]:
            raise MinterUnavailable()

    denied = revoked(stage)
    stage.minter.lapses = [Lapse(PLACE, "it was deleted")]
    both = {"away": Away(name="away"), **stage.broker.minters}
    with pytest.raises(MinterUnavailable):
        reassert(replace(stage.broker, minters=both))
    assert lease_now(stage, denied).denied_at is None


def test_without_room_to_name_one_all_at_its_place_are_cut_and_people_are_told(
    stage: Stage,
) -> None:
    """What was made before starts to end too, with that reason; what comes after lives."""
    one, other = out(stage), out(stage)
    stage.pass_time(MOMENT)
    now = stage.broker.store.now()
    stage.minter.denied = lambda until: Denied(until, made_before=now)
    revoke_lease(stage.broker, stage.operator, one.id)
    later = out(stage)
    sweep(stage.broker)
    cut = lease_now(stage, other)
    assert (cut.state, cut.end_reason) == (LeaseState.ENDING, "cut_with_role")
    assert lease_now(stage, later).state is LeaseState.ACTIVE
    assert "no room" in stage.alarms.alarms[-1][0]


def test_a_fenced_credential_is_acted_on_at_its_fence_and_lives_to_its_own_end(
    stage: Stage,
) -> None:
    """Usable no longer than granted, whatever the back end's shortest life is; both are told."""
    stage.minter.extra_life = QUARTER
    stage.minter.fenced_at = lambda: stage.broker.store.now() + timedelta(minutes=4)
    lease = out(stage)
    now = stage.broker.store.now()
    assert lease.expires_at == lease.fenced_at == now + timedelta(minutes=4)
    assert lease.backend_expires_at > now + QUARTER
    stage.pass_time(lease.expires_at - now)
    sweep(stage.broker)
    waiting = lease_now(stage, lease)
    assert (waiting.state, waiting.due_at) == (LeaseState.ENDING, lease.backend_expires_at)
    stage.pass_time(lease.backend_expires_at - lease.expires_at)
    sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.EXPIRED


def test_a_fence_later_than_granted_is_no_excuse_for_living_longer(stage: Stage) -> None:
    """Nothing is handed out, and what was made is on its way out."""
    stage.minter.extra_life = QUARTER
    stage.minter.fenced_at = lambda: stage.broker.store.now() + timedelta(minutes=6)
    with pytest.raises(MintedTooLong):
        out(stage)


def test_what_may_be_minted_still_is_remembered_as_long_as_it_could_live(stage: Stage) -> None:
    """A back end that gives no less than a quarter of an hour may have given it unseen."""
    stage.minter.extra_life = QUARTER
    stage.minter.fail_mint = [MinterUnavailable()]
    with pytest.raises(MinterUnavailable):
        out(stage)
    with stage.broker.store.transaction() as tx:
        lease = tx.leases(None, None, None)[0]
    assert lease.backend_expires_at >= lease.second_tap_at + lease.granted_ttl + QUARTER


def test_doctor_finds_nothing_wrong_with_what_is_denied(stage: Stage) -> None:
    """It waits for a known instant, and history tells it; a refusal that lapsed is a violation."""
    revoked(stage)
    assert doctor(stage.broker) == []
    stage.minter.lapses = [Lapse(PLACE, "it was deleted")]
    for _ in range(2):  # and it renews nothing
        assert [(x.invariant, x.about) for x in doctor(stage.broker)] == [("I4", PLACE)]


def test_a_place_belongs_to_its_minter() -> None:
    """Two minters may call two places alike."""
    assert Handle("fake", "t", "n", {"place": "role"}).place == "fake role"
    assert Handle("fake", "t", "n").place is None
