"""Cuts: the list is whole each time, nothing is dropped in silence, and nothing comes off early."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as some

from tests.unit.test_lease import MINUTE, NEW, NOW
from valetkey.core.cut import SKEW, Cut, needs_cut, recut
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Lease, LeaseState

SECOND = timedelta(seconds=1)
PLACE = Handle("fake", "t", "vk-1", {"place": "role"})


def ending(number: int, lives: int = 15, **changes: object) -> Lease:
    """A lease on its way out whose credential was handed out and lives so many minutes yet."""
    lease = replace(
        NEW, id=LeaseId(f"lease_{number:03d}"), state=LeaseState.ENDING, handle=PLACE,
        activated_at=NOW, backend_expires_at=NOW + lives * MINUTE,
    )  # fmt: skip
    return replace(lease, **changes)  # type: ignore[arg-type]


def test_each_list_names_all_whose_end_was_asked_for_under_the_next_generation() -> None:
    """Whatever stood there before."""
    cut = recut(Cut("fake role", 7, ("lease_gone",)), [ending(2), ending(1)], 10, NOW)
    assert (cut.generation, cut.lease_ids) == (8, ("lease_001", "lease_002"))
    assert cut.made_before is None
    assert cut.until == NOW + 15 * MINUTE


def test_a_credential_past_its_fence_needs_no_cut_but_keeps_the_one_it_has() -> None:
    """Once refused at our word it stays so until its own end."""
    fenced = ending(1, fenced_at=NOW)
    assert not needs_cut(fenced, NOW)
    assert needs_cut(fenced, NOW - SECOND)
    assert recut(Cut("p"), [fenced], 10, NOW).empty
    assert recut(Cut("p", 1, (fenced.id,)), [fenced], 10, NOW).lease_ids == (fenced.id,)
    assert recut(Cut("p", 1, (fenced.id,)), [fenced], 10, NOW + 15 * MINUTE).empty


def test_without_room_all_that_was_made_until_now_is_refused() -> None:
    """And then the list has room again for what comes later."""
    leases = [ending(number) for number in range(5)]
    wide = recut(Cut("p"), leases, 4, NOW + SECOND)
    assert wide.lease_ids == ()
    assert wide.made_before == NOW + 2 * SECOND + SKEW
    assert all(wide.covers(lease) for lease in leases)
    later = ending(9, activated_at=NOW + MINUTE)
    after = recut(wide, [*leases, later], 4, NOW + 2 * MINUTE)
    assert after.made_before == wide.made_before
    assert after.lease_ids == (later.id,)


def test_the_refusal_of_all_is_lifted_only_when_the_last_of_them_has_ended() -> None:
    """Its end is known from the record, also when those leases are no longer in it."""
    wide = recut(Cut("p"), [ending(1), ending(2, lives=30)], 1, NOW)
    assert recut(wide, [], 1, NOW + 30 * MINUTE - SECOND).made_before == wide.made_before
    assert recut(wide, [], 1, NOW + 30 * MINUTE).empty


def test_what_may_be_made_later_is_named_and_is_not_covered_without_room() -> None:
    """A mint in flight may come out after the instant before which all is refused."""
    flying = [ending(n, activated_at=None, second_tap_at=NOW + 2 * MINUTE) for n in range(3)]
    cut = recut(Cut("p"), flying, 4, NOW)
    assert cut.lease_ids == (flying[0].id, flying[1].id)
    assert not cut.covers(flying[2])
    assert cut.made_before is None
    assert recut(cut, [flying[2], *flying[:2]], 2, NOW).lease_ids == (flying[0].id,)


def test_what_nobody_holds_takes_half_the_room_and_cuts_nobody_else() -> None:
    """Whoever asks again and again for what fails must not end what others hold."""
    failed = [ending(n, activated_at=None, second_tap_at=NOW + 2 * MINUTE) for n in range(50)]
    held = [ending(100 + n) for n in range(5)]
    cut = recut(recut(Cut("p"), failed, 10, NOW), [*failed, *held], 10, NOW)
    assert cut.made_before is None
    assert len(cut.lease_ids) == 10
    assert all(cut.covers(lease) for lease in held)
    whole = recut(cut, [*failed, *held, ending(200)], 10, NOW)
    assert whole.made_before is not None
    assert all(whole.covers(lease) for lease in held)
    assert len(whole.lease_ids) == 5


def test_a_list_is_worth_shortening_when_its_first_has_ended_but_not_every_second() -> None:
    """Writing it again costs a call outside."""
    assert recut(Cut("p"), [ending(1), ending(2, lives=30)], 9, NOW).prune_at == NOW + 15 * MINUTE
    soon = recut(Cut("p"), [ending(1, backend_expires_at=NOW + SECOND)], 9, NOW)
    assert soon.prune_at == NOW + MINUTE


@given(
    some.lists(some.integers(0, 30), max_size=12, unique=True),
    some.integers(0, 12),
    some.integers(0, 20),
)
def test_whatever_is_handed_out_and_asked_to_end_is_covered(
    numbers: list[int], slots: int, minutes: int
) -> None:
    """With any room at all, at any time, after any list."""
    now = NOW + minutes * MINUTE
    leases = [ending(n, activated_at=NOW + timedelta(seconds=n)) for n in numbers]
    first = recut(Cut("p"), leases[: len(leases) // 2], slots, NOW + MINUTE)
    cut = recut(first, leases, slots, max(now, NOW + MINUTE))
    alive = [x for x in leases if x.backend_expires_at > max(now, NOW + MINUTE)]
    assert all(cut.covers(lease) for lease in alive)
    assert len(cut.lease_ids) <= slots
