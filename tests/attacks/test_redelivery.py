"""An agent uses `Redeliver`, meant for lost answers, to have more than it was given."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import (
    MOMENT,
    approved,
    issued,
    lease_now,
    leases,
    sweep_until_quiet,
    waiting,
)
from valetkey.core.errors import BrokerError, MinterUnavailable, RedeliveryRefused
from valetkey.core.kill import Height
from valetkey.core.lease import Lease, LeaseState
from valetkey.flows.collect import collect
from valetkey.flows.kill import kill
from valetkey.flows.reconcile import reconcile
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued
from valetkey.flows.write_off import fresh_for, write_off
from valetkey.testing.brokers import Stage


def collected(stage: Stage, grant_id: str, redeliver: str | None = None) -> Lease:
    """What an approved grant is collected into."""
    answer = collect(stage.broker, stage.bot, grant_id, redeliver)
    assert isinstance(answer, Issued)
    return answer.lease


def test_a_redelivery_lives_no_longer_than_what_was_lost(stage: Stage) -> None:
    """Five minutes were approved: asking again at the end of them gives no five more."""
    grant = approved(stage, waiting(stage, stage.start()))
    lost = collected(stage, grant.id)
    stage.pass_time(timedelta(minutes=4))
    again = collected(stage, grant.id, lost.id)
    assert again.expires_at <= lost.expires_at + MOMENT
    stage.pass_time(timedelta(seconds=30))
    assert collected(stage, grant.id, again.id).expires_at <= lost.expires_at + MOMENT


def test_what_has_expired_is_not_redelivered(stage: Stage) -> None:
    """An approved write for five minutes is over after five minutes, however often one asks."""
    grant = approved(stage, waiting(stage, stage.start()))
    lost = collected(stage, grant.id)
    stage.pass_time(timedelta(minutes=6))
    sweep(stage.broker)
    assert lease_now(stage, lost).state is LeaseState.ENDED
    with pytest.raises(RedeliveryRefused):
        collect(stage.broker, stage.bot, grant.id, lost.id)
    assert stage.minter.alive == {}


def test_what_a_person_revoked_is_not_redelivered(stage: Stage) -> None:
    """Its owner took it away; the approval that it rested on is used up."""
    grant = approved(stage, waiting(stage, stage.start()))
    lost = collected(stage, grant.id)
    revoke_lease(stage.broker, stage.owner, lost.id)
    with pytest.raises(RedeliveryRefused):
        collect(stage.broker, stage.bot, grant.id, lost.id)
    sweep(stage.broker)
    with pytest.raises(RedeliveryRefused):
        collect(stage.broker, stage.bot, grant.id, lost.id)
    assert len(leases(stage)) == 1


def test_what_was_killed_is_not_redelivered_under_another_lease(stage: Stage) -> None:
    """A kill of one lease is not walked around by its next generation."""
    ask = stage.ask(stage.start())
    lost = issued(stage, ask).lease
    kill(stage.broker, stage.operator, Height.LEASE, lost.id, "misused")
    sweep_until_quiet(stage, timedelta(seconds=20))
    with pytest.raises(BrokerError):
        request_credential(stage.broker, stage.bot, ask, lost.id)
    assert stage.minter.alive == {}


def test_what_was_revoked_and_reappeared_is_not_redelivered(stage: Stage) -> None:
    """Its owner took it away; that it was found alive later makes it no lost answer."""
    ask = stage.ask(stage.start())
    lost = issued(stage, ask).lease
    revoke_lease(stage.broker, stage.owner, lost.id)
    sweep_until_quiet(stage, timedelta(seconds=20))
    stage.minter.alive[lost.handle.name] = lost.id
    reconcile(stage.broker, "fake")
    sweep_until_quiet(stage, timedelta(seconds=20))
    assert lease_now(stage, lost).state is LeaseState.ENDED
    with pytest.raises(RedeliveryRefused):
        request_credential(stage.broker, stage.bot, ask, lost.id)
    assert stage.minter.alive == {}


def test_what_was_written_off_is_not_redelivered(stage: Stage) -> None:
    """Nobody has proven its end, so that a second one would make two."""
    ask = stage.ask(stage.start(), ttl=timedelta(minutes=15))
    lost = issued(stage, ask).lease
    stage.minter.fail_end = [MinterUnavailable("gone") for _ in range(99)]
    with pytest.raises(BrokerError):
        request_credential(stage.broker, stage.bot, ask, lost.id)
    with stage.broker.store.transaction() as tx:
        tx.save_lease(replace(lease_now(stage, lost), state=LeaseState.STUCK))
    operator = stage.fresh(stage.operator, fresh_for(lost))
    write_off(stage.broker, operator, lost.id, "its server was scrapped")
    with pytest.raises(RedeliveryRefused):
        request_credential(stage.broker, stage.bot, ask, lost.id)
    assert len(stage.minter.alive) == 1


def test_a_yes_to_one_catalogue_gives_nothing_of_the_next_one(stage: Stage) -> None:
    """What people saw had a digest; statements that changed since need another yes."""
    grant = approved(stage, waiting(stage, stage.start()))
    lost = collected(stage, grant.id)
    stage.rules.catalogue = replace(stage.rules.catalogue, digest="wider")
    with pytest.raises(RedeliveryRefused):
        collect(stage.broker, stage.bot, grant.id, lost.id)
    assert stage.minter.alive == {}
