"""Stories of the kill switch: at every height, at once, until other people release it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.flows.stories import issued, kinds, lease_now
from valetkey.core.catalogue import Catalogue
from valetkey.core.errors import (
    AlreadyDecided,
    FreshLoginRequired,
    InvalidRequest,
    Killed,
    NotFound,
    RoleRequired,
    TaskEnded,
)
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.task import Task
from valetkey.flows.kill import kill, kill_now, kill_progress, release_kill
from valetkey.testing.brokers import Stage

HEIGHTS = list(Height)


def subject_of(stage: Stage, height: Height, task: Task, lease: Lease) -> str:
    """What is named at each height."""
    return {
        Height.LEASE: lease.id,
        Height.TASK: task.id,
        Height.AGENT: stage.agent.id,
        Height.TARGET: "orders-db",
        Height.EVERYTHING: "",
    }[height]


def killed(stage: Stage, height: Height = Height.EVERYTHING, subject: str = "") -> Kill:
    """A kill by the operator."""
    return kill(stage.broker, stage.operator, height, subject, "odd")


@pytest.mark.parametrize("height", HEIGHTS)
def test_a_kill_ends_what_lives_at_every_height(stage: Stage, height: Height) -> None:
    """The lease is ending when the call returns, and verified after a little work."""
    task = stage.start()
    lease = issued(stage, stage.ask(task)).lease
    ordered = killed(stage, height, subject_of(stage, height, task, lease))
    assert lease_now(stage, lease).state is LeaseState.ENDING
    kill_now(stage.broker, ordered)
    assert lease_now(stage, lease).proof is Proof.VERIFIED
    progress = kill_progress(stage.broker, stage.operator, ordered.id)
    assert (progress.unended, progress.ended) == ((), 1)


@pytest.mark.parametrize("height", [h for h in HEIGHTS if h is not Height.LEASE])
def test_a_kill_blocks_new_asks(stage: Stage, height: Height) -> None:
    """Nothing is minted under it; a killed task has simply ended."""
    task = stage.start()
    lease = issued(stage, stage.ask(task)).lease
    killed(stage, height, subject_of(stage, height, task, lease))
    with pytest.raises(TaskEnded if height is Height.TASK else Killed):
        issued(stage, stage.ask(task))


def test_a_kill_of_one_lease_leaves_the_others(stage: Stage) -> None:
    """Only what it covers is touched."""
    task = stage.start()
    one, other = (issued(stage, stage.ask(task)).lease for _ in range(2))
    killed(stage, Height.LEASE, one.id)
    assert lease_now(stage, one).state is LeaseState.ENDING
    assert lease_now(stage, other).state is LeaseState.ACTIVE


def test_a_kill_of_more_than_one_batch_leaves_nothing_alive(stage: Stage) -> None:
    """It goes on until none is left."""
    task = stage.start()
    for _ in range(205):
        issued(stage, stage.ask(task))
    ordered = killed(stage)
    with stage.broker.store.transaction() as tx:
        assert tx.leases("active", None, None) == []
    assert len(kill_progress(stage.broker, stage.operator, ordered.id).unended) == 205


def test_an_agent_may_be_named_by_its_name(stage: Stage) -> None:
    """The kill is kept under its id."""
    assert killed(stage, Height.AGENT, "refund-bot").subject == stage.agent.id


@pytest.mark.parametrize("height", [Height.LEASE, Height.TASK, Height.AGENT])
def test_a_kill_of_nothing_known_is_refused(stage: Stage, height: Height) -> None:
    """A typing error does not look like success."""
    with pytest.raises(NotFound):
        killed(stage, height, "no-such-thing")
    assert kinds(stage) == []


def test_a_kill_of_everything_names_nothing_and_others_name_something(stage: Stage) -> None:
    """An empty subject never widens a kill by accident."""
    with pytest.raises(InvalidRequest):
        killed(stage, Height.EVERYTHING, "orders-db")
    with pytest.raises(InvalidRequest):
        killed(stage, Height.TARGET, "")


def test_only_operators_kill(stage: Stage) -> None:
    """Owners revoke; agents and approvers do not kill."""
    for person in (stage.owner, stage.approver, stage.bot):
        with pytest.raises(RoleRequired):
            kill(stage.broker, person, Height.EVERYTHING, "", "odd")


def test_a_kill_is_released_by_another_operator_with_a_fresh_login(stage: Stage) -> None:
    """Not by the one who ordered it, not with a cached session, and not twice."""
    task = stage.start()
    ordered = killed(stage, Height.TARGET, "orders-db")
    other = stage.person("otto@example.com", roles={"operator"})
    name = f"release:{ordered.id}"
    with pytest.raises(RoleRequired):
        release_kill(stage.broker, stage.fresh(stage.operator, name), ordered.id)
    with pytest.raises(RoleRequired):
        release_kill(stage.broker, stage.fresh(stage.approver, name), ordered.id)
    with pytest.raises(FreshLoginRequired):
        release_kill(stage.broker, other, ordered.id)
    stale = stage.fresh(other, name)
    stage.pass_time(timedelta(minutes=6))
    with pytest.raises(FreshLoginRequired):
        release_kill(stage.broker, stale, ordered.id)
    release_kill(stage.broker, stage.fresh(other, name), ordered.id)
    assert issued(stage, stage.ask(task)).lease.state is LeaseState.ACTIVE
    with pytest.raises(AlreadyDecided):
        release_kill(stage.broker, stage.fresh(other, name), ordered.id)
    assert kinds(stage).count("KillReleased") == 1


def test_what_is_issued_after_a_release_is_not_counted_to_the_kill(stage: Stage) -> None:
    """Progress is about what the kill covered while it was in force."""
    task = stage.start()
    ordered = killed(stage, Height.TARGET, "orders-db")
    stage.pass_time(timedelta(seconds=1))
    other = stage.person("otto@example.com", roles={"operator"})
    release_kill(stage.broker, stage.fresh(other, f"release:{ordered.id}"), ordered.id)
    stage.pass_time(timedelta(seconds=1))
    issued(stage, stage.ask(task))
    assert kill_progress(stage.broker, stage.operator, ordered.id).unended == ()


def test_a_misspelt_target_does_not_look_like_a_kill_that_worked(stage: Stage) -> None:
    """Killing what nobody knows is refused, and no kill is written."""
    with pytest.raises(NotFound):
        kill(stage.broker, stage.operator, Height.TARGET, "order-db", "typo")
    with stage.broker.store.transaction() as tx:
        assert tx.kills_in_force() == []


def test_a_target_that_left_the_catalogue_can_still_be_killed(stage: Stage) -> None:
    """What is out there under its name is reason enough."""
    issued(stage, stage.ask(stage.start()))
    stage.rules.catalogue = Catalogue({}, "empty")
    kill(stage.broker, stage.operator, Height.TARGET, "orders-db", "gone")
    with stage.broker.store.transaction() as tx:
        assert all(lease.state is not LeaseState.ACTIVE for lease in tx.unended_leases())
