"""Stories of writing off: a named person gives up what nobody could end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.flows.stories import facts, issued, lease_now
from valetkey.core.errors import (
    BrokerError,
    FreshLoginRequired,
    MinterUnavailable,
    NotFound,
    NotStuck,
    RoleRequired,
)
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task, receipt
from valetkey.flows.reconcile import reconcile
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.flows.write_off import fresh_for, write_off
from valetkey.testing.brokers import Stage

WHY = "the server was scrapped"


def stuck(stage: Stage) -> Lease:
    """A lease whose target does not answer any more."""
    lease = issued(stage, stage.ask(stage.start())).lease
    revoke_lease(stage.broker, stage.owner, lease.id)
    stage.minter.fail_end = [MinterUnavailable("gone") for _ in range(99)]
    for _ in range(5):
        sweep(stage.broker)
        stage.pass_time(timedelta(minutes=5))
    lease = lease_now(stage, lease)
    assert lease.state is LeaseState.STUCK
    return lease


def fresh(stage: Stage, lease: Lease) -> Caller:
    """The operator after a login for this lease."""
    return stage.fresh(stage.operator, fresh_for(lease))


def test_a_stuck_lease_is_written_off_by_name_and_reason(stage: Stage) -> None:
    """It is over by somebody's word, everywhere it is shown, and an alarm says so."""
    lease = stuck(stage)
    gone = write_off(stage.broker, fresh(stage, lease), lease.id, WHY)
    assert (gone.state, gone.proof, gone.due_at) == (LeaseState.ENDED, Proof.WRITTEN_OFF, None)
    assert (gone.written_off_by, gone.written_off_reason) == ("opal@example.com", WHY)
    told = facts(stage, lease_id=lease.id)[-1].fact
    assert (told.kind.value, told.outcome) == ("LeaseWrittenOff", "written_off")
    assert told.body["untrusted_reason"] == WHY
    assert "a lease was written off" in str(stage.alarms.alarms)
    end_task(stage.broker, stage.bot, lease.task_id or "")
    shown = receipt(stage.broker, stage.bot, lease.task_id or "").leases[0]
    assert shown.written_off_by == "opal@example.com"


def test_a_lease_that_is_not_stuck_is_not_written_off(stage: Stage) -> None:
    """Active, ending or ended: it ends by itself."""
    lease = issued(stage, stage.ask(stage.start())).lease
    for _ in range(3):
        with pytest.raises(NotStuck):
            write_off(stage.broker, fresh(stage, lease), lease.id, WHY)
        revoke_lease(stage.broker, stage.owner, lease.id)
        sweep(stage.broker)
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def _stale(stage: Stage, lease: Lease) -> Caller:
    caller = fresh(stage, lease)
    stage.pass_time(timedelta(minutes=6))
    return caller


def _owner(stage: Stage, lease: Lease) -> Caller:
    person = stage.person("Olivia@example.com", roles={"operator"})
    return stage.fresh(person, fresh_for(lease))


CALLERS = {
    "no operator": (lambda s, x: s.fresh(s.approver, fresh_for(x)), RoleRequired),
    "the agent": (lambda s, x: s.bot, RoleRequired),
    "its owner": (_owner, RoleRequired),
    "no fresh login": (lambda s, x: s.operator, FreshLoginRequired),
    "fresh for another": (lambda s, x: s.fresh(s.operator, "write-off:lease_x"), FreshLoginRequired),
    "stale": (_stale, FreshLoginRequired),
}


@pytest.mark.parametrize("who", CALLERS)
def test_nobody_else_writes_off(stage: Stage, who: str) -> None:
    """An operator who is not its owner, after a login made for this very lease."""
    lease = stuck(stage)
    caller, error = CALLERS[who]
    with pytest.raises(error):
        write_off(stage.broker, caller(stage, lease), lease.id, WHY)
    assert lease_now(stage, lease).state is LeaseState.STUCK


def test_what_nobody_knows_is_not_written_off(stage: Stage) -> None:
    """Not found, as ever."""
    with pytest.raises(NotFound):
        write_off(stage.broker, stage.operator, "lease_unknown", WHY)


def test_what_was_written_off_and_is_found_again_is_ended(stage: Stage) -> None:
    """The word of a person is no proof: it is reopened, and then the proof is a real one."""
    lease = stuck(stage)
    write_off(stage.broker, fresh(stage, lease), lease.id, WHY)
    assert stage.minter.alive
    stage.minter.fail_end = []
    reconcile(stage.broker, "fake")
    again = lease_now(stage, lease)
    assert (again.state, again.end_reason) == (LeaseState.ENDING, "reappeared")
    sweep(stage.broker)
    over = lease_now(stage, lease)
    assert (over.proof, over.written_off_by) == (Proof.VERIFIED, None)
    assert stage.minter.alive == {}
    assert doctor(stage.broker) == []


def test_a_refusal_to_write_off_says_what_to_log_in_for(stage: Stage) -> None:
    """The client logs in for exactly that."""
    lease = stuck(stage)
    with pytest.raises(BrokerError) as refused:
        write_off(stage.broker, stage.operator, lease.id, WHY)
    assert refused.value.extra == {"fresh_for": f"write-off:{lease.id}"}
