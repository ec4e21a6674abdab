"""Stories of the kill switch: at every height, at once, until other people release it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.flows.stories import facts, issued, kinds, lease_now, leases, sweep_until_quiet
from valetkey.core.catalogue import Catalogue
from valetkey.core.errors import (
    AlreadyDecided,
    FreshLoginRequired,
    InvalidRequest,
    Killed,
    LeaseEnded,
    MinterUnavailable,
    NotFound,
    NotReady,
    RoleRequired,
    TaskEnded,
)
from valetkey.core.kill import Height, Kill
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.task import Task
from valetkey.flows.agents import change_agent
from valetkey.flows.drill_kill import drill_kill
from valetkey.flows.kill import kill, kill_now, kill_progress, release_kill
from valetkey.flows.sweep import sweep
from valetkey.ports import RuleSet
from valetkey.testing.brokers import Stage

HEIGHTS = list(Height)


def subject_of(stage: Stage, height: Height, task: Task, lease: Lease) -> str:
    """What is named at each height."""
    return {
        Height.LEASE: lease.id,
        Height.TASK: task.id,
        Height.AGENT: stage.agent.id,
        Height.OWNER: stage.agent.owner,
        Height.PERSON: "Pat@example.com",
        Height.VENDOR: "acme",
        Height.ISSUER: "cluster",
        Height.SCOPE: "orders-db:read",
        Height.TARGET: "orders-db",
        Height.EVERYTHING: "",
    }[height]


def killed(stage: Stage, height: Height = Height.EVERYTHING, subject: str = "") -> Kill:
    """A kill by the operator."""
    return kill(stage.broker, stage.operator, height, subject, "odd")


@pytest.mark.parametrize("height", HEIGHTS)
def test_a_kill_ends_what_lives_at_every_height(stage: Stage, height: Height) -> None:
    """The lease is ending when the call returns, and verified after a little work."""
    task = stage.start(on_behalf_of=stage.given().id)
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
    task = stage.start(on_behalf_of=stage.given().id)
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


@pytest.mark.parametrize("height", [h for h in HEIGHTS if h is not Height.EVERYTHING])
def test_a_kill_of_nothing_known_is_refused(stage: Stage, height: Height) -> None:
    """A typing error does not look like success."""
    with pytest.raises(NotFound):
        killed(stage, height, "orders-db:eat" if height is Height.SCOPE else "no-such-thing")
    assert kinds(stage) == []


@pytest.mark.parametrize("height", [Height.AGENT, Height.OWNER, Height.VENDOR, Height.ISSUER])
def test_a_kill_blocks_new_tasks_of_whom_it_covers(stage: Stage, height: Height) -> None:
    """Before the agent has ever had a task or a lease, too."""
    subject = {
        Height.AGENT: stage.agent.id,
        Height.OWNER: stage.agent.owner,
        Height.VENDOR: "acme",
        Height.ISSUER: "cluster",
    }[height]
    killed(stage, height, subject)
    with pytest.raises(Killed):
        stage.start()


@pytest.mark.parametrize("height", [h for h in HEIGHTS if h is not Height.TASK])
def test_a_kill_that_overtakes_a_mint_wins_at_every_height(stage: Stage, height: Height) -> None:
    """What was minted meanwhile is not handed out, and ends."""
    task = stage.start(on_behalf_of=stage.given().id)

    def order() -> None:
        stage.minter.after_mint = lambda: None
        killed(stage, height, subject_of(stage, height, task, leases(stage)[0]))

    stage.minter.after_mint = order
    with pytest.raises((Killed, LeaseEnded)):
        issued(stage, stage.ask(task))
    assert lease_now(stage, leases(stage)[0]).state is LeaseState.ENDING


def test_a_kill_of_a_scope_leaves_wider_and_other_ones(stage: Stage) -> None:
    """Only what is no wider than it ends, and only that is refused from then on."""
    task = stage.start()
    eu, us = (
        issued(stage, stage.ask(task, f"orders-db:read{{region={region}}}")).lease
        for region in ("eu", "us")
    )
    killed(stage, Height.SCOPE, "orders-db:read{region=eu}")
    assert lease_now(stage, eu).state is LeaseState.ENDING
    assert lease_now(stage, us).state is LeaseState.ACTIVE
    issued(stage, stage.ask(task, "orders-db:read{region=us}"))
    with pytest.raises(Killed):
        issued(stage, stage.ask(task, "orders-db:read{region=eu}"))


def test_a_killed_scope_is_kept_as_scopes_are_written(stage: Stage) -> None:
    """What is no scope is refused."""
    assert killed(stage, Height.SCOPE, "orders-db:read{region=eu}").subject.endswith("{region=eu}")
    with pytest.raises(InvalidRequest):
        killed(stage, Height.SCOPE, "orders-db")


def test_an_agent_does_not_slip_from_under_a_kill_of_its_vendor(stage: Stage) -> None:
    """Its label stays as long as a kill looks at it; other changes are made."""
    killed(stage, Height.VENDOR, "acme")
    with pytest.raises(Killed):
        change_agent(stage.broker, stage.owner, None, stage.agent.id, {"labels": {}})
    labels = {"vendor": "acme", "tier": "gold"}
    changed = change_agent(stage.broker, stage.owner, None, stage.agent.id, {"labels": labels})
    assert changed.labels == labels


def test_the_oldest_are_marked_and_ended_first(stage: Stage) -> None:
    """What has been out longest comes first."""
    task = stage.start()
    asked = []
    for _ in range(5):
        asked.append(issued(stage, stage.ask(task)).lease.id)
        stage.pass_time(timedelta(seconds=1))
    kill_now(stage.broker, killed(stage))
    for kind in ("LeaseEnding", "LeaseEnded"):
        assert [x.fact.lease_id for x in facts(stage, kind=kind)] == asked


@pytest.mark.parametrize("height", HEIGHTS)
def test_a_kill_works_when_the_rules_and_the_back_end_do_not(stage: Stage, height: Height) -> None:
    """It needs our own database and nothing else; what cannot be ended now is ended later."""
    task = stage.start(on_behalf_of=stage.given().id)
    lease = issued(stage, stage.ask(task)).lease

    def gone() -> RuleSet:
        raise NotReady()

    stage.broker = replace(stage.broker, rules=gone)
    stage.minter.fail_end = [MinterUnavailable() for _ in range(3)]
    ordered = killed(stage, height, subject_of(stage, height, task, lease))
    kill_now(stage.broker, ordered)
    assert lease_now(stage, lease).state in {LeaseState.ENDING, LeaseState.ENDED}
    stage.minter.fail_end = []
    sweep_until_quiet(stage, timedelta(minutes=1))
    assert lease_now(stage, lease).proof is Proof.VERIFIED


def test_a_target_nobody_knows_is_killed_while_no_catalogue_is_in_force(stage: Stage) -> None:
    """Nobody can say that it is misspelt, and somebody is in a hurry."""

    def gone() -> RuleSet:
        raise NotReady()

    stage.broker = replace(stage.broker, rules=gone)
    assert killed(stage, Height.TARGET, "orders-2").subject == "orders-2"


def test_progress_says_when_the_last_proof_came(stage: Stage) -> None:
    """None while anything is left; then the time of the last end."""
    task = stage.start()
    for _ in range(2):
        issued(stage, stage.ask(task))
    ordered = killed(stage)
    before = kill_progress(stage.broker, stage.operator, ordered.id)
    assert (before.last_proof_at, before.expected.seconds) == (None, None)
    stage.pass_time(timedelta(seconds=3))
    sweep(stage.broker)
    done = kill_progress(stage.broker, stage.operator, ordered.id)
    assert done.last_proof_at is not None
    assert done.last_proof_at - ordered.at >= timedelta(seconds=3)
    assert done.expected.seconds == 0


def test_a_drill_says_what_would_end_and_stops_nothing(stage: Stage) -> None:
    """One fact is all that it writes, and the estimate comes from what ended before."""
    task = stage.start()
    kill_now(stage.broker, killed(stage, Height.LEASE, issued(stage, stage.ask(task)).lease.id))
    held = [issued(stage, stage.ask(task)).lease for _ in range(3)]
    before = kinds(stage)
    drill = drill_kill(stage.broker, stage.operator, Height.AGENT, "refund-bot", "a drill")
    assert [lease.id for lease in drill.would_end] == [lease.id for lease in held]
    assert drill.expected.seconds is not None
    assert kinds(stage) == [*before, "KillDrilled"]
    assert all(lease_now(stage, lease).state is LeaseState.ACTIVE for lease in held)
    issued(stage, stage.ask(task))


def test_a_drill_is_refused_as_the_kill_would_be(stage: Stage) -> None:
    """Only operators, and only of what is known."""
    with pytest.raises(RoleRequired):
        drill_kill(stage.broker, stage.owner, Height.EVERYTHING, "", "a drill")
    with pytest.raises(NotFound):
        drill_kill(stage.broker, stage.operator, Height.TARGET, "order-db", "typo")
    with pytest.raises(InvalidRequest):
        drill_kill(stage.broker, stage.operator, Height.EVERYTHING, "x", "a drill")
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


@pytest.mark.parametrize(
    ("height", "subject", "close"),
    [
        (Height.AGENT, "refnd-bot", "refund-bot"),
        (Height.OWNER, "olivia@exampel.com", "olivia@example.com"),
        (Height.TARGET, "Order-db", "orders-db"),
        (Height.SCOPE, "orders-db:reed", "orders-db:read"),
    ],
)
def test_a_misspelt_name_is_answered_with_what_is_close(
    stage: Stage, height: Height, subject: str, close: str
) -> None:
    """And with the word that nothing is covered; what was written is not said again."""
    with pytest.raises(NotFound) as refused:
        kill(stage.broker, stage.operator, height, subject, "wrong")
    assert refused.value.detail.startswith("Nothing is covered")
    assert close in refused.value.detail
    assert subject not in refused.value.detail


def test_an_id_or_nonsense_is_close_to_nothing(stage: Stage) -> None:
    """Ids are not guessed at."""
    for height in (Height.TASK, Height.LEASE, Height.AGENT):
        with pytest.raises(NotFound) as refused:
            kill(stage.broker, stage.operator, height, "task_000", "wrong")
        assert "Close to it" not in refused.value.detail


def test_an_owner_may_be_written_in_any_case(stage: Stage) -> None:
    """One mailbox is one person: the kill is kept as agents have the address, and covers them."""
    lease = issued(stage, stage.ask(stage.start())).lease
    ordered = kill(stage.broker, stage.operator, Height.OWNER, "Olivia@Example.COM", "gone")
    assert ordered.subject == stage.agent.owner
    assert lease_now(stage, lease).end_reason == "killed"


def test_an_owner_of_several_spellings_is_not_killed_in_part(stage: Stage) -> None:
    """Each must be named, which works; nothing is ordered by the way."""
    other = replace(stage.agent, id=stage.new_id("agent"), name="b", owner="OLIVIA@example.com")
    with stage.broker.store.transaction() as tx:
        tx.add_agent(other)
    with pytest.raises(InvalidRequest, match=r"OLIVIA@example\.com and olivia@example\.com"):
        kill(stage.broker, stage.operator, Height.OWNER, "Olivia@example.com", "gone")
    assert stage.memory.state.kills == {}
    for spelt in (other.owner, stage.agent.owner):
        assert kill(stage.broker, stage.operator, Height.OWNER, spelt, "x").subject == spelt


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
