"""Estimates: as honest as what ended lately allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from valetkey.core.ids import LeaseId
from valetkey.core.lease import Handle, Lease, LeaseState, Proof
from valetkey.flows.forecast import forecast

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def lease(number: int = 1, **changes: Any) -> Lease:
    """An active lease of orders-db."""
    made = Lease(
        id=LeaseId(f"lease_{number:04d}"),
        grant_id=None,
        task_id=None,
        agent_id=None,
        owner="o",
        target="orders-db",
        scope="orders-db:read",
        catalogue_digest="d",
        handle=Handle("fake", "orders-db", "vk"),
        end_class=Proof.VERIFIED,
        state=LeaseState.ACTIVE,
        fence=1,
        requested_ttl=SECOND,
        granted_ttl=SECOND,
        cut_by="asked",
        created_at=NOW,
        mint_until=NOW,
        second_tap_at=NOW + 95 * SECOND,
        due_at=NOW,
        expires_at=NOW,
        backend_expires_at=NOW + 600 * SECOND,
        activated_at=NOW,
    )
    return replace(made, **changes)


def ended(number: int, since: float, until: float, **changes: Any) -> Lease:
    """One that began to end and ended so many seconds ago."""
    over = lease(number, ending_since=NOW - since * SECOND, **changes)
    return over.ended(Proof.VERIFIED, NOW - until * SECOND)


def test_with_nothing_to_end_there_is_nothing_to_wait_for() -> None:
    """Zero, whatever ended before."""
    assert forecast([], [], 8, NOW).seconds == 0


def test_what_ended_before_says_how_long_it_takes() -> None:
    """Ten at two at once, each of two seconds, take ten."""
    before = [ended(n, 10 * n + 2, 10 * n) for n in range(1, 6)]
    found = forecast([lease(n) for n in range(10)], before, 2, NOW)
    assert (found.seconds, found.based_on) == (10.0, 5)


def test_waiting_for_others_is_not_counted_twice() -> None:
    """Many that were killed at one instant say the pace at which they ended, not their queue."""
    before = [ended(n, 100, 100 - n) for n in range(1, 51)]
    assert forecast([lease(n) for n in range(50)], before, 1, NOW).seconds == 50


def test_where_nothing_ended_lately_nobody_can_tell() -> None:
    """Another target's pace is not this one's; what expired by itself is no pace at all."""
    elsewhere = ended(1, 2, 1, target="archive")
    by_itself = replace(ended(2, 2, 1), proof=Proof.EXPIRED)
    assert forecast([lease()], [elsewhere, by_itself], 8, NOW).seconds is None


def test_what_is_stuck_ends_when_people_have_helped() -> None:
    """No estimate is given for it."""
    stuck = lease(state=LeaseState.STUCK)
    assert forecast([stuck], [ended(1, 2, 1)], 8, NOW).seconds is None


def test_what_cannot_be_cut_and_what_may_still_be_minted_set_the_end() -> None:
    """Until its own end, and until its second tap."""
    before = [ended(1, 2, 1)]
    uncuttable = lease(end_class=Proof.EXPIRED)
    assert forecast([uncuttable, lease()], before, 8, NOW).seconds == 600
    assert forecast([lease(activated_at=None), lease()], before, 8, NOW).seconds == 95
