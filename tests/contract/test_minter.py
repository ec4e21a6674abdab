"""What every minter does: the fake, our own tokens, and the real OpenBao over PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.contract.aws_kind import aws_kind
from tests.contract.minters import (
    TTL,
    Kind,
    connect,
    database_kind,
    deadline,
    fake_kind,
    later,
    new_lease_id,
    simulated_kind,
    token_kind,
    unreachable_database,
)
from valetkey.core.errors import MinterRefused, MinterUnavailable, NotRenewable, OutcomeUnknown
from valetkey.core.ids import Mark
from valetkey.core.lease import Handle, Proof
from valetkey.devstack.stack import Stack
from valetkey.ports import Presence

KINDS = [
    *("fake", "fake-denies", "simulated", "token-introspected", "token-offline"),
    *("openbao-database", "aws-sts"),
]
LOOKING = ["fake", "simulated", "openbao-database"]


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """The real thing, provisioned once for this file."""
    stack: Stack = request.getfixturevalue("stack")
    with ExitStack() as resources:
        yield resources.enter_context(database_kind(stack))


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """The emulator's bucket, whose role refuses nothing yet."""
    stack: Stack = request.getfixturevalue("stack")
    with aws_kind(stack.aws) as kind:
        yield kind


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each minter in turn."""
    return _kind(request)


@pytest.fixture(params=LOOKING)
def looking(request: pytest.FixtureRequest) -> Kind:
    """Each minter that can look inside its target."""
    return _kind(request)


def _kind(request: pytest.FixtureRequest) -> Kind:
    if request.param.startswith("fake"):
        return fake_kind(denies=request.param == "fake-denies")
    if request.param == "aws-sts":
        emulated: Kind = request.getfixturevalue("bucket")
        return emulated
    if request.param == "simulated":
        return simulated_kind()
    if request.param == "openbao-database":
        real: Kind = request.getfixturevalue("database")
        return real
    return token_kind(introspects=request.param == "token-introspected")


def test_a_handle_is_known_before_the_mint_and_always_the_same(kind: Kind) -> None:
    """It is derived from lease and scope alone, and its name is a mark of that lease."""
    lease_id = new_lease_id()
    handle = kind.minter.handle_for(lease_id, kind.wanted)
    assert handle == kind.minter.handle_for(lease_id, kind.wanted)
    mark = Mark.read(handle.name)
    assert mark is not None
    assert (mark.lease_id, mark.installation) == (lease_id, kind.installation)
    assert handle.target == kind.wanted.target.name
    assert handle.name != kind.handle().name
    assert len(handle.name) <= 63


def test_what_is_minted_works_and_lives_as_long_as_asked(kind: Kind) -> None:
    """The holder can use it; no longer than asked."""
    handle = kind.handle()
    minted = kind.mint(handle)
    assert kind.works(minted)
    assert timedelta(0) < minted.usable(datetime.now(UTC)) <= TTL
    kind.minter.end(handle, later())


def test_the_secret_is_in_no_handle_reference_or_repr(kind: Kind) -> None:
    """What we keep is useless to a thief."""
    handle = kind.handle()
    minted = kind.mint(handle)
    parts = minted.secret.parts()
    assert parts
    kept = repr([handle, minted, minted.back_ref, asdict(handle)])
    assert not any(part in kept for part in parts.values())
    kind.minter.end(handle, later())


def test_what_can_be_cut_is_gone_after_its_end_and_the_rest_says_until_when(kind: Kind) -> None:
    """Gone is only said of what can be cut; for the rest the answer is never before its end."""
    handle = kind.handle()
    kind.mint(handle)
    at = later()
    assert kind.minter.end(handle, at) == kind.ended(at)


def test_ending_twice_is_ending_once(kind: Kind) -> None:
    """The same answer, and no error."""
    handle, at = kind.handle(), later()
    kind.mint(handle)
    assert kind.minter.end(handle, at) == kind.minter.end(handle, at)


def test_ending_what_was_never_minted_is_no_error(kind: Kind) -> None:
    """Not found is gone; what may exist unseen still lives until its instant."""
    at = later()
    assert kind.minter.end(kind.handle(), at) == kind.ended(at)


def test_a_mint_past_its_deadline_makes_nothing(kind: Kind) -> None:
    """The deadline is looked at before the outside is."""
    handle = kind.handle()
    with pytest.raises(OutcomeUnknown):
        kind.minter.mint(handle, kind.wanted, TTL, deadline(0))
    expected = Presence.ABSENT if kind.looks else Presence.UNKNOWN
    assert kind.minter.probe(handle) is expected


def test_the_best_proof_is_what_it_can_see(kind: Kind) -> None:
    """Verified needs a look, confirmed needs a cut; the rest only expires."""
    best = Proof.VERIFIED if kind.looks else Proof.CONFIRMED if kind.cuts else Proof.EXPIRED
    assert kind.minter.end_class(kind.wanted) is best


def test_a_handle_that_was_written_down_still_ends_after_a_restart(kind: Kind) -> None:
    """No catalogue is needed to end: the handle alone finds the credential."""
    handle = kind.handle()
    minted = kind.mint(handle)
    written = Handle(**json.loads(json.dumps({**asdict(handle), "where": dict(handle.where)})))
    kind.reborn().end(written, later())
    if kind.looks or kind.denies:
        assert not kind.works(minted)


def test_a_claimed_target_is_claimed_once_and_then_ready(kind: Kind) -> None:
    """Claiming again claims nothing new, and it has no problem to mint."""
    kind.minter.claim()
    assert list(kind.minter.claim()) == []
    assert kind.minter.problem() is None


def test_a_look_finds_it_while_it_is_there_and_not_after(looking: Kind) -> None:
    """Absent, present, and absent again; and the holder is out."""
    handle = looking.handle()
    assert looking.minter.probe(handle) is Presence.ABSENT
    minted = looking.mint(handle)
    assert looking.minter.probe(handle) is Presence.PRESENT
    looking.minter.end(handle, later())
    assert looking.minter.probe(handle) is Presence.ABSENT
    assert not looking.works(minted)


def test_everything_out_there_with_a_mark_is_found(looking: Kind) -> None:
    """With whose it is, and a handle that ends it; what was ended is found no more."""
    handles = [looking.handle() for _ in range(3)]
    for handle in handles:
        looking.mint(handle)
    target = looking.wanted.target.name
    assert list(looking.minter.targets()) == [target]
    found = {x.handle.name: x for x in looking.minter.found(target)}
    assert {x.name for x in handles} <= found.keys()
    for handle in handles:
        seen = found[handle.name]
        mark = Mark.read(handle.name)
        assert mark is not None
        assert (seen.installation, seen.lease_id) == (looking.installation, mark.lease_id)
        assert seen.handle == handle
        looking.minter.end(seen.handle, later())
    assert not {x.name for x in handles} & {x.handle.name for x in looking.minter.found(target)}


def test_what_a_back_end_tells_of_an_end_is_never_past_what_was_minted(looking: Kind) -> None:
    """Asked itself, and by what the target takes; and of what is gone it knows no end."""
    target, handle = looking.wanted.target.name, looking.handle()
    minted = looking.mint(handle)
    latest = datetime.now(UTC) + minted.lifetime + minted.slack + timedelta(seconds=2)
    until = looking.minter.lives_until(handle, minted.back_ref)
    (seen,) = [x for x in looking.minter.found(target) if x.handle == handle]
    for told in (until, seen.until):
        assert told is None or datetime.now(UTC) < told <= latest
    looking.minter.end(handle, later())
    assert looking.minter.lives_until(handle, minted.back_ref) is None


def test_clocks_outside_are_near(looking: Kind) -> None:
    """All servers of a test run on one machine."""
    assert looking.minter.skew(looking.wanted.target.name) < timedelta(seconds=3)


def test_openbao_and_the_target_tell_when_a_credential_ends(database: Kind) -> None:
    """Neither is silent, and VALID UNTIL is the later."""
    handle = database.handle()
    minted = database.mint(handle)
    until = database.minter.lives_until(handle, minted.back_ref)
    (seen,) = [x for x in database.minter.found("orders-db") if x.handle == handle]
    assert until is not None
    assert seen.until is not None
    assert until <= seen.until
    database.minter.end(handle, later())


def test_an_open_session_is_cut_and_counts_as_present_until_then(database: Kind) -> None:
    """PostgreSQL: the session drops, and nobody comes in again."""
    handle = database.handle()
    minted = database.mint(handle)
    with connect(minted) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        database.minter.end(handle, later())
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert database.minter.probe(handle) is Presence.ABSENT
    assert not database.works(minted)


def test_a_target_that_cannot_be_looked_at_is_minted_nothing_and_holds_up_no_other(
    database: Kind, request: pytest.FixtureRequest
) -> None:
    """Its catalogue may be active for the sake of the others; it has to be seen first itself."""
    with unreachable_database(request.getfixturevalue("stack"), database) as (minter, catalogue):
        assert minter.not_proven(catalogue) == []
        handle = minter.handle_for(new_lease_id(), database.wanted)
        with pytest.raises(MinterUnavailable):
            minter.mint(handle, database.wanted, TTL, deadline())
    assert database.minter.probe(handle) is Presence.ABSENT


def test_what_can_be_renewed_lives_for_what_was_asked_from_then_on(kind: Kind) -> None:
    """Never longer; what cannot be renewed says so, beforehand and when it is tried."""
    handle = kind.handle()
    minted = kind.mint(handle)
    if kind.minter.renews(kind.wanted):
        renewed = kind.minter.renew(handle, minted.back_ref, 2 * TTL, deadline())
        assert TTL < renewed.lifetime <= 2 * TTL
        assert kind.works(minted)
    else:
        with pytest.raises(NotRenewable):
            kind.minter.renew(handle, minted.back_ref, 2 * TTL, deadline())
    kind.minter.end(handle, later())


def test_what_has_ended_is_not_renewed(looking: Kind) -> None:
    """It stays away, whoever asks."""
    handle = looking.handle()
    minted = looking.mint(handle)
    looking.minter.end(handle, later())
    with pytest.raises(MinterRefused):
        looking.minter.renew(handle, minted.back_ref, TTL, deadline())
    assert looking.minter.probe(handle) is Presence.ABSENT
    assert not looking.works(minted)


def test_a_renewal_past_its_deadline_is_not_begun(looking: Kind) -> None:
    """A thread that was frozen renews nothing any more."""
    handle = looking.handle()
    minted = looking.mint(handle)
    with pytest.raises(OutcomeUnknown):
        looking.minter.renew(handle, minted.back_ref, TTL, deadline(0))
    looking.minter.end(handle, later())


def test_renewals_end_with_the_life_that_the_role_is_pinned_to(database: Kind) -> None:
    """OpenBao cuts what would go beyond the scope's longest life, and VALID UNTIL with it."""
    longest = database.wanted.definition.longest
    handle = database.handle()
    minted = database.mint(handle)
    renewed = database.minter.renew(handle, minted.back_ref, 2 * longest, deadline())
    assert renewed.lifetime <= longest
    until = database.minter.lives_until(handle, minted.back_ref)
    assert until is not None
    assert until <= datetime.now(UTC) + renewed.lifetime + renewed.slack
    database.minter.end(handle, later())
