"""Leases: one way out, no way back but one, and no end to trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from valetkey.core.ids import LeaseId
from valetkey.core.lease import LIVE, UNENDED, Handle, Lease, LeaseState, Patience, Proof

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PATIENCE = Patience()
DURATIONS = some.integers(-86400, 86400).map(lambda seconds: timedelta(seconds=seconds))
INSTANTS = DURATIONS.map(lambda duration: NOW + duration)
PROOFS = some.sampled_from(Proof)

NEW = Lease(
    id=LeaseId("lease_1"),
    grant_id="grant_1",
    task_id="task_1",
    agent_id="agent_1",
    owner="o",
    target="t",
    scope="t:read",
    catalogue_digest="d",
    handle=Handle("fake", "t", "vk-1"),
    end_class=Proof.VERIFIED,
    state=LeaseState.MINTING,
    fence=1,
    requested_ttl=5 * MINUTE,
    granted_ttl=5 * MINUTE,
    cut_by="asked",
    created_at=NOW,
    mint_until=NOW + MINUTE,
    second_tap_at=NOW + 2 * MINUTE,
    due_at=NOW + MINUTE,
    expires_at=NOW + 5 * MINUTE,
    backend_expires_at=NOW + 7 * MINUTE,
)

Move = Callable[[Lease], Lease]


def _tried(lease: Lease, tries: int) -> Lease:
    return replace(lease, tries=tries)


WAYS_OUT: some.SearchStrategy[Move] = some.one_of(
    some.builds(lambda at: lambda x: x.ending("revoked", at), INSTANTS),
    some.builds(
        lambda at, tries, jitter: lambda x: _tried(x, tries).failed("away", at, PATIENCE, jitter),
        INSTANTS,
        some.integers(0, 10**6),
        some.floats(0, 1, exclude_max=True),
    ),
    some.just(lambda x: x.tapped_once()),
    some.builds(lambda at: lambda x: x.waits_for_expiry(at), INSTANTS),
    some.just(lambda x: x.seen()),
)


@given(some.lists(WAYS_OUT, max_size=12))
def test_what_is_ending_is_always_due_again_until_it_is_ended(moves: list[Move]) -> None:
    """No series of troubles leads back to life, and none leaves a lease without its next try."""
    lease = NEW.ending("revoked", NOW)
    for move in moves:
        lease = move(lease)
        assert lease.state in UNENDED - LIVE
        assert lease.due_at is not None
        assert lease.proof is None
        assert lease.still_valid_until is not None


@given(some.integers(0, 10**6), some.floats(0, 1, exclude_max=True), INSTANTS)
def test_a_back_off_is_never_over_five_minutes_and_never_in_the_past(
    tries: int, jitter: float, now: datetime
) -> None:
    """However often it failed: retries go on for ever."""
    failed = _tried(NEW.ending("revoked", NOW), tries).failed("away", now, PATIENCE, jitter)
    assert failed.due_at is not None
    assert now < failed.due_at <= now + 5 * MINUTE


@given(some.floats(0, 1, exclude_max=True))
def test_back_off_grows(jitter: float) -> None:
    """Each further failure waits at least as long, at the same jitter."""
    ending = NEW.ending("revoked", NOW)
    dues = [_tried(ending, n).failed("x", NOW, PATIENCE, jitter).due_at for n in range(20)]
    assert dues == sorted(x for x in dues if x is not None)


def test_a_lease_is_stuck_after_many_tries_or_after_long() -> None:
    """Either threshold is enough, and a stuck lease stays so while it fails."""
    ending = NEW.ending("revoked", NOW)
    assert _tried(ending, 11).failed("x", NOW, PATIENCE, 0).state is LeaseState.ENDING
    assert _tried(ending, 12).failed("x", NOW, PATIENCE, 0).state is LeaseState.STUCK
    late = ending.failed("x", NOW + 15 * MINUTE, PATIENCE, 0)
    assert late.state is LeaseState.STUCK
    assert _tried(late, 0).failed("x", NOW, PATIENCE, 0).state is LeaseState.STUCK


@given(PROOFS, INSTANTS)
def test_an_ended_lease_has_a_proof_and_is_never_due(proof: Proof, at: datetime) -> None:
    """And works for nobody."""
    ended = NEW.ending("revoked", NOW).ended(proof, at)
    assert (ended.state, ended.proof, ended.ended_at) == (LeaseState.ENDED, proof, at)
    assert ended.due_at is None
    assert ended.still_valid_until is None


@given(PROOFS, INSTANTS)
def test_nothing_but_reappearing_leads_out_of_ended(proof: Proof, at: datetime) -> None:
    """A revocation of what is over changes nothing; what is seen again is ending, unproven."""
    ended = NEW.ending("revoked", NOW).ended(proof, at)
    assert ended.ending("revoked", at) is ended
    again = ended.reappeared(at)
    assert (again.state, again.proof, again.ended_at) == (LeaseState.ENDING, None, None)
    assert again.due_at == at
    assert again.seen_outside


def test_a_second_ending_does_not_touch_the_first() -> None:
    """The first reason stays, and a stuck lease does not start afresh."""
    ending = NEW.ending("task_ended", NOW)
    stuck = _tried(ending, 99).failed("away", NOW, PATIENCE, 0.5)
    assert ending.ending("revoked", NOW + MINUTE) is ending
    assert stuck.ending("revoked", NOW + MINUTE) is stuck


@given(INSTANTS, DURATIONS)
def test_we_act_no_later_than_granted(now: datetime, life: timedelta) -> None:
    """And never after the back end does."""
    active = NEW.activated(now, now + life, "ref", ("print",))
    assert active.expires_at == min(now + NEW.granted_ttl, now + life)
    assert active.backend_expires_at == now + life
    assert active.due_at == active.expires_at
    assert active.second_tap_at == now


@given(INSTANTS)
def test_waiting_for_expiry_never_makes_the_end_earlier(until: datetime) -> None:
    """The later of what we knew and what the back end says."""
    waits = NEW.ending("revoked", NOW).waits_for_expiry(until)
    assert waits.due_at == waits.backend_expires_at == max(until, NEW.backend_expires_at)


def test_a_claim_only_moves_when_it_is_due_and_counts_as_a_try() -> None:
    """A sweep that dies leaves the lease to the next one, which can tell that one was before it."""
    assert NEW.claimed(NOW) == replace(NEW, due_at=NOW, tries=1)


def test_an_error_that_is_kept_is_short() -> None:
    """Two hundred and forty characters of what went wrong."""
    kept = NEW.ending("revoked", NOW).failed("x" * 1000, NOW, PATIENCE, 0).last_error
    assert kept == "x" * 240
