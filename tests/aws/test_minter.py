"""Sessions of AWS as the minter makes and cuts them, on the emulator: unproven on AWS itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.ground import PLACE, Ground, Grounds, ground
from tests.aws.sessions import refusal
from valetkey.core.errors import MinterRefused, MinterUnavailable, OutcomeUnknown
from valetkey.core.lease import DeniedHow, LeaseState, Proof
from valetkey.devstack.aws.service import Aws
from valetkey.flows.reassert import reassert
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued
from valetkey.minters.aws_clients import AwsClients


@pytest.fixture
def grounds(aws: Aws, tmp_path: Path) -> Iterator[Grounds]:
    """Grounds of any kind."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(ground(aws, tmp_path, **how))


@pytest.fixture
def place(grounds: Grounds) -> Ground:
    """The usual one."""
    return grounds()


def is_let_in(place: Ground, issued: Issued, key: str = "eu/2026-01.csv") -> bool:
    """Whether the credential reads its object."""
    try:
        place.read(issued, key)
    except ClientError as refused:
        assert refused.response["Error"]["Code"] == "AccessDenied"
        return False
    return True


def named(document: dict[str, Any] | None) -> list[str]:
    """The leases that a document refuses by name, without its witness."""
    assert document is not None
    tagged = document["Statement"][0]["Condition"]["StringEquals"]["aws:PrincipalTag/valetkey-lease"]
    return [f"lease_{tag}" for tag in tagged if not tag.startswith("witness-")]


def test_a_session_reads_what_was_asked_for_and_nothing_beside_it(place: Ground) -> None:
    """With an unmodified client; other prefixes, the whole list and writing are refused."""
    issued = place.ask("eu/")
    assert "1001" in place.read(issued)
    s3 = place.s3(issued)
    listed = s3.list_objects_v2(Bucket="orders-exports", Prefix="eu/")
    assert listed["KeyCount"] == 2
    assert refusal(place.read, issued, "us/2026-01.csv") == "AccessDenied"
    assert refusal(s3.list_objects_v2, Bucket="orders-exports") == "AccessDenied"
    put = {"Bucket": "orders-exports", "Key": "eu/x", "Body": b"x"}
    assert refusal(s3.put_object, **put) == "AccessDenied"


def test_a_life_shorter_than_aws_gives_is_kept_by_the_fence(place: Ground) -> None:
    """Past it nothing works, though the session lives; then its own end is waited for."""
    issued = place.ask(minutes=2)
    lease = issued.lease
    assert lease.fenced_at == lease.expires_at
    assert lease.expires_at <= lease.created_at + timedelta(minutes=2)
    assert lease.backend_expires_at >= lease.created_at + timedelta(minutes=15)
    place.pass_time(2.1)
    assert not is_let_in(place, issued)
    sweep(place.stage.broker)
    waiting = place.lease(issued)
    assert (waiting.state, waiting.denied_at) == (LeaseState.ENDING, None)
    assert place.document() is None
    place.pass_time(13.5)
    sweep(place.stage.broker)
    assert place.lease(issued).proof is Proof.EXPIRED


def test_a_session_that_is_ended_early_is_refused_and_called_denied(place: Ground) -> None:
    """Its neighbour works on."""
    cut, other = place.ask(), place.ask()
    assert is_let_in(place, cut)
    place.revoke(cut)
    assert not is_let_in(place, cut)
    assert is_let_in(place, other)
    lease = place.lease(cut)
    assert (lease.state, lease.denied_how) == (LeaseState.ENDING, DeniedHow.ASSERTED)
    assert lease.still_valid_until is not None
    assert named(place.document()) == [lease.id]


def test_many_ends_at_once_share_one_write(place: Ground) -> None:
    """Whoever finds itself in the list that stands is done."""
    issued = [place.ask() for _ in range(4)]
    place.revoke(*issued)
    assert place.book.cut(PLACE).generation == 1
    assert len(named(place.document())) == 4
    assert not any(is_let_in(place, one) for one in issued)


def test_a_list_that_was_taken_away_is_written_again_and_people_are_told(place: Ground) -> None:
    """By whichever replica looks next; the lease is called denied once it is again."""
    cut = place.ask()
    place.revoke(cut)
    place.delete()
    assert is_let_in(place, cut)
    assert [x.why for x in place.minter.reassert(renew=False)] == ["it was deleted"]
    place.pass_time(0.05)
    assert reassert(place.broker_over(place.replica())) == 1
    assert not is_let_in(place, cut)
    assert place.lease(cut).denied_at is None
    assert "undone outside" in place.stage.alarms.alarms[-1][0]
    sweep(place.stage.broker)
    assert place.lease(cut).denied_at is not None
    place.pass_time(0.05)
    assert reassert(place.stage.broker) == 0


def test_a_list_that_was_changed_is_written_again(place: Ground) -> None:
    """Also when it still names the generation."""
    cut, other = place.ask(), place.ask()
    place.revoke(cut, other)
    changed = place.document()
    assert changed is not None
    tagged = changed["Statement"][0]["Condition"]["StringEquals"]
    tagged["aws:PrincipalTag/valetkey-lease"] = [other.lease.id.removeprefix("lease_")]
    place.put(changed)
    assert is_let_in(place, cut)
    place.pass_time(0.05)
    assert reassert(place.stage.broker) == 1
    assert sorted(named(place.document())) == sorted([cut.lease.id, other.lease.id])


def test_a_frozen_writer_that_writes_an_older_list_is_overwritten(place: Ground) -> None:
    """It wakes after a newer one was written, and knows less."""
    first, second = place.ask(), place.ask()
    place.revoke(first)
    older = place.document()
    place.revoke(second)
    assert older is not None
    place.put(older)
    assert is_let_in(place, second)
    place.pass_time(0.05)
    reassert(place.stage.broker)
    assert not is_let_in(place, second)
    assert len(named(place.document())) == 2


def test_two_writers_at_once_leave_the_newer_list(place: Ground) -> None:
    """Whoever reads another generation there than the newest writes once more."""
    first, second = place.ask(), place.ask()
    two = place.replica()
    slow = two._cutter.roles.write

    class Overtaken(type(two._cutter.roles)):  # type: ignore[misc]
        def write(self, role_arn: str, document: str) -> None:
            """Between this one's generation and its write, the other writes."""
            object.__setattr__(two._cutter, "roles", plain)
            place.revoke(second)
            slow(role_arn, document)

    plain = two._cutter.roles
    object.__setattr__(two._cutter, "roles", Overtaken(plain.clients))
    with place.stage.memory.transaction() as tx:
        lease = tx.lease(first.lease.id)
        assert lease is not None
        tx.save_lease(lease.ending("revoked", tx.now()))
    two.end(first.lease.handle, first.lease.backend_expires_at)
    assert not is_let_in(place, first)
    assert not is_let_in(place, second)
    assert sorted(named(place.document())) == sorted([first.lease.id, second.lease.id])


def test_without_room_everything_at_the_role_is_cut_and_said_to_be(grounds: Grounds) -> None:
    """Never a silent drop; nothing is minted there until that instant has passed."""
    place = grounds(slots=2)
    issued = [place.ask() for _ in range(4)]
    place.revoke(*issued[:3])
    cut = place.book.cut(PLACE)
    assert cut.made_before is not None
    assert place.lease(issued[3]).end_reason == "cut_with_role"
    with pytest.raises(MinterUnavailable):
        place.ask()
    assert not any(is_let_in(place, one) for one in issued)
    sweep(place.stage.broker)
    assert all(place.lease(one).denied_at for one in issued)
    place.pass_time(0.3)
    later = place.ask()
    assert is_let_in(place, later)
    place.revoke(later)
    assert not is_let_in(place, later)
    by_name = named(place.document())
    assert later.lease.id in by_name
    assert not {one.lease.id for one in issued} & set(by_name)


def test_a_list_is_shortened_only_after_the_sessions_own_end(place: Ground) -> None:
    """Then it is deleted when it is empty."""
    cut = place.ask()
    place.revoke(cut)
    place.pass_time(14)
    reassert(place.stage.broker)
    assert named(place.document()) == [cut.lease.id]
    place.pass_time(2)
    sweep(place.stage.broker)
    assert place.lease(cut).proof is Proof.EXPIRED
    reassert(place.stage.broker)
    assert place.document() is None
    assert place.book.cut(PLACE).empty


def test_a_witness_tells_that_the_refusal_holds(grounds: Grounds) -> None:
    """It was let in before, and is no longer."""
    place = grounds(witness=True)
    place.aws.client("s3").put_object(Bucket="orders-exports", Key="valetkey/witness", Body=b"")
    cut = place.ask()
    place.revoke(cut)
    assert place.lease(cut).denied_how is DeniedHow.WITNESSED
    other = place.ask()
    place.aws.client("s3").delete_object(Bucket="orders-exports", Key="valetkey/witness")
    place.revoke(other)
    assert place.lease(other).denied_how is DeniedHow.ASSERTED


def test_a_refusal_that_has_not_come_into_force_is_not_called_one(grounds: Grounds) -> None:
    """IAM is eventually consistent: a witness that is still let in says so, and it is tried on."""
    place = grounds(witness=True)
    place.aws.client("s3").put_object(Bucket="orders-exports", Key="valetkey/witness", Body=b"")
    cut = place.ask()
    place.aws.turn(lag=3600)
    place.revoke(cut)
    lease = place.lease(cut)
    assert (lease.denied_at, lease.state) == (None, LeaseState.ENDING)
    assert "witness is still let in" in (lease.last_error or "")
    place.aws.turn(lag=0)
    place.pass_time(1)
    sweep(place.stage.broker)
    assert place.lease(cut).denied_how is DeniedHow.WITNESSED


def test_the_list_of_another_installation_is_left_alone_and_makes_us_unready(
    place: Ground,
) -> None:
    """Nothing is cut there until people have seen to it, and that is said."""
    cut = place.ask()
    sid = "vkzzzzzze1Generation3".replace("z", "v")
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    test = {"StringEquals": {"aws:PrincipalTag/valetkey-lease": ["x"]}}
    foreign = {"Version": "2012-10-17", "Statement": [{"Sid": sid, **deny, "Condition": test}]}
    place.put(foreign)
    place.revoke(cut)
    assert "another installation" in (place.lease(cut).last_error or "")
    assert place.document() == foreign
    assert "another installation" in (place.replica().problem() or "")


def test_it_is_ready_when_its_identity_and_roles_are_there(place: Ground) -> None:
    """And says why when they are not."""
    assert place.minter.problem() is None
    place.stage.pass_time(timedelta(minutes=1))
    assert "clock" in (place.replica().problem() or "")


def test_what_aws_does_not_take_is_refused_and_never_widened(place: Ground) -> None:
    """A trust policy, a longer session, an id that is wrong: nothing else is tried."""
    place.aws.external_id_file.with_suffix(".other").write_text("wrong")
    other = place.replica()
    identity = other._clients.identity
    object.__setattr__(identity, "external_id_file", place.aws.external_id_file.with_suffix(".other"))
    place.stage.broker = place.broker_over(other)
    with pytest.raises(MinterRefused, match="AccessDenied"):
        place.ask()


class AnotherSession(AwsClients):
    """Clients whose STS answers with a session of another name than was asked for."""

    def sts(self, region: str) -> Any:
        """The real one, with another word in its answer."""
        real = super().sts(region)

        def assume_role(**asked: Any) -> Any:
            answer = real.assume_role(**asked)
            answer["AssumedRoleUser"]["Arn"] += "x"
            return answer

        return SimpleNamespace(assume_role=assume_role)


def test_a_session_that_was_not_asked_for_is_not_handed_out(place: Ground) -> None:
    """What such an answer holds is unknown: nobody gets it, and its lease is on its way out."""
    place.minter._clients.__class__ = AnotherSession
    with pytest.raises(OutcomeUnknown):
        place.ask()
    place.minter._clients.__class__ = AwsClients
    with place.stage.memory.transaction() as tx:
        (lease,) = tx.unended_leases()
    assert (lease.state, lease.end_reason) == (LeaseState.ENDING, "mint_failed")
