"""Our own database cut off at each commit: what was asked, what took effect, what is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.ground import (
    Ground,
    ask_for,
    get,
    lease_of,
    leases_of,
    start,
    until_ended,
    until_true,
)
from tests.faults.proxy import PostgresProxy
from tests.faults.rows import row
from valetkey.bootstrap import House
from valetkey.core.errors import AlreadyDelivered, InProgress, StoreUnavailable, TaskEnded
from valetkey.core.lease import LeaseState, Proof
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.verdicts import Issued


@pytest.fixture
def cut(ground: Ground, wire: PostgresProxy, house: House) -> Iterator[House]:
    """A broker behind the wire, which does not tick; the healthy `house` does."""
    with ground.house(database_port=wire.port) as cut:
        yield cut


@row("F10")
def test_a_commit_that_never_arrives_mints_nothing(
    ground: Ground, wire: PostgresProxy, cut: House, house: House
) -> None:
    """Cut at the first commit: 503's error, no lease, and nothing at the back end."""
    bot = ground.bot(house)
    task = start(cut, bot)
    wire.lose("commit")
    with pytest.raises(StoreUnavailable):
        request_credential(cut.broker, bot, ask_for(task))
    assert wire.lost == 1
    assert leases_of(house, task) == []
    assert ground.roles() == []


@row("F12")
def test_a_first_commit_whose_answer_is_lost_mints_nothing(
    ground: Ground, wire: PostgresProxy, cut: House, house: House
) -> None:
    """The row is there and nothing was minted; it ends as what never existed."""
    bot = ground.bot(house)
    task = start(cut, bot)
    wire.lose("answer")
    with pytest.raises(StoreUnavailable):
        request_credential(cut.broker, bot, ask_for(task))
    assert wire.lost == 1
    (lease,) = leases_of(house, task)
    assert ground.roles() == []
    assert until_ended(house, lease.id).proof is Proof.NEVER_EXISTED


@row("F11")
def test_a_second_commit_that_never_arrives_withholds_the_secret(
    ground: Ground, wire: PostgresProxy, cut: House, house: House
) -> None:
    """Minted, not recorded: nobody gets it, and the row that remembers ends it."""
    bot = ground.bot(house)
    task = start(cut, bot)
    wire.lose("commit", 2)
    with pytest.raises(StoreUnavailable):
        request_credential(cut.broker, bot, ask_for(task))
    assert wire.lost == 1
    (lease,) = leases_of(house, task)
    assert lease.state is LeaseState.MINTING
    assert until_ended(house, lease.id).proof is Proof.VERIFIED


@row("F12")
def test_a_second_commit_whose_answer_is_lost_is_had_again_by_its_key(
    ground: Ground, wire: PostgresProxy, cut: House, house: House
) -> None:
    """Active and undelivered: the same key says so, and redelivers once the first is proven gone."""
    bot = ground.bot(house)
    task = start(cut, bot)
    ask = ask_for(task, key="once")
    wire.lose("answer", 2)
    with pytest.raises(StoreUnavailable):
        request_credential(cut.broker, bot, ask)
    (lost,) = leases_of(house, task)
    assert lost.state is LeaseState.ACTIVE
    with pytest.raises((InProgress, AlreadyDelivered)):
        request_credential(cut.broker, bot, ask)
    again = request_credential(cut.broker, bot, ask, redeliver=lost.id)
    assert isinstance(again, Issued)
    assert lease_of(house, lost.id).proof is Proof.VERIFIED
    assert end_task(house.broker, bot, task.id).complete


@row("F10", "F38")
def test_a_broker_without_its_database_gives_nothing_and_recovers(
    ground: Ground, wire: PostgresProxy, cut: House, house: House
) -> None:
    """While it is cut off nothing is asked of OpenBao; when it is mended all goes on."""
    bot = ground.bot(house)
    task = start(cut, bot)
    issued = get(cut, bot, ask_for(task))
    wire.cut()
    with pytest.raises(StoreUnavailable):
        request_credential(cut.broker, bot, ask_for(task))
    with pytest.raises(StoreUnavailable):
        end_task(cut.broker, bot, task.id)
    until_true(lambda: cut.problems() != [], 5)
    assert [issued.lease.handle.name] == ground.roles()
    wire.mend()
    until_true(lambda: cut.problems() == [], 15, lambda: str(cut.problems()))
    assert end_task(cut.broker, bot, task.id).complete


@row("F12")
def test_an_ending_whose_record_is_lost_is_ended_again(
    ground: Ground, wire: PostgresProxy, cut: House, house: House
) -> None:
    """Ended at the back end, unrecorded here: another replica ends it once more and records it."""
    bot = ground.bot(house)
    task = start(cut, bot)
    issued = get(cut, bot, ask_for(task))
    wire.lose("commit", saying=b"LeaseEnded")
    end_task(cut.broker, bot, task.id)
    until_true(lambda: wire.lost == 1, 10)
    assert until_ended(house, issued.lease.id).proof is Proof.VERIFIED


@row("F08")
def test_an_issuer_that_was_frozen_after_its_mint_hands_out_nothing(
    ground: Ground, house: House
) -> None:
    """While it stood still others ended its lease: its late answer is withheld and ended again."""
    bot = ground.bot(house)
    task = start(house, bot)

    def freeze(step: str) -> None:
        if step == "issue.minted":
            end_task(house.broker, bot, task.id)
            (lease,) = leases_of(house, task)
            assert until_ended(house, lease.id).proof is Proof.VERIFIED

    frozen = replace(house.broker, failpoint=freeze)
    with pytest.raises(TaskEnded):
        request_credential(frozen, bot, ask_for(task))
    (lease,) = leases_of(house, task)
    assert lease.end_reason == "reappeared"
    assert until_ended(house, lease.id).proof is Proof.VERIFIED
