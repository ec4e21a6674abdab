"""A state machine over the flows: any verb after any other, and the invariants after each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from tests.simulation.watch import MOVES
from valetkey.core.ask import Ask
from valetkey.core.errors import (
    BrokerError,
    MinterRefused,
    MinterUnavailable,
    NotAsked,
    OutcomeUnknown,
)
from valetkey.core.kill import Height, Kill, Reach, stops
from valetkey.core.lease import LIVE, Lease, LeaseState
from valetkey.core.task import Task, TaskState
from valetkey.flows.acknowledge import acknowledge
from valetkey.flows.agents import disable_agent
from valetkey.flows.approve import approve, deny, fresh_name, time_out_grants, withdraw
from valetkey.flows.collect import collect
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_overdue_tasks, end_task
from valetkey.flows.kill import enforce_kills, kill, kill_now, release_kill
from valetkey.flows.reconcile import reconcile
from valetkey.flows.renew import renew
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.testing.brokers import Stage

TROUBLE = (MinterRefused, MinterUnavailable, OutcomeUnknown)
SCOPES = ("orders-db:read{region=eu}", "orders-db:write{region=eu}", "orders-db:drop{region=eu}")


class Flows(RuleBasedStateMachine):
    """Verbs in any order over one stage. `make_stage` gives it; `moves_time` says if it can."""

    make_stage: ClassVar[Callable[[], Stage]] = Stage
    moves_time: ClassVar[bool] = True
    ever_handed_out: ClassVar[list[str]] = []

    tasks = Bundle("tasks")
    asked = Bundle("asked")
    waiting = Bundle("waiting")
    kills = Bundle("kills")

    def __init__(self) -> None:
        super().__init__()
        self.stage = type(self).make_stage()
        self.seen: dict[str, Lease] = {}
        self.handed_out: set[str] = set()

    @initialize(target=tasks)
    def begins(self) -> Task:
        """There is a task."""
        return self.stage.start()

    @initialize(target=asked, task=tasks)
    def wants(self, task: Task) -> Ask:
        """And something it is for, which is given: no run is without a credential."""
        ask = self.stage.ask(task)
        self._asks(ask, None)
        return ask

    # --- the agent -------------------------------------------------------------------------

    @rule(target=tasks, minutes=st.sampled_from((5, 60)))
    def starts(self, minutes: int) -> object:
        """A task, unless the agent may not."""
        with suppress(BrokerError):
            return self.stage.start(minutes=minutes)
        return multiple()

    @rule(target=asked, task=tasks, scope=st.sampled_from(SCOPES))
    def makes_up_an_ask(self, task: Task, scope: str) -> Ask:
        """An ask under a key of its own, not sent yet; what is asked for may be renewed."""
        return self.stage.ask(task, scope, renewable_for=timedelta(minutes=12))

    @rule(at=st.integers(0, 9))
    def renews(self, at: int) -> None:
        """One of what is out, unless it may not."""
        live = [x for x in self._leases() if x.state is LeaseState.ACTIVE]
        for lease in live[at : at + 1]:
            with suppress(BrokerError):
                longer = renew(self.stage.broker, self.stage.bot, lease.id)
                assert longer.expires_at > lease.expires_at
                assert longer.renewable_until is not None
                assert longer.expires_at <= longer.renewable_until

    @rule(at=st.integers(0, 9))
    def acknowledges(self, at: int) -> None:
        """Whatever it is by now: nothing rises by it."""
        for lease in self._leases()[at : at + 1]:
            with suppress(BrokerError):
                noted = acknowledge(self.stage.broker, self.stage.bot, lease.id)
                assert noted.state is lease.state

    @rule(target=waiting, ask=asked, again=st.booleans())
    def asks(self, ask: Ask, again: bool) -> object:
        """Sent once or once more, perhaps for another delivery."""
        return self._asks(ask, self._newest_of(ask) if again else None)

    def _asks(self, ask: Ask, lost: str | None) -> object:
        with suppress(BrokerError):
            answer = request_credential(self.stage.broker, self.stage.bot, ask, lost)
            if isinstance(answer, Waiting):
                return answer.grant.id
            self._receives(answer)
        return multiple()

    @rule(target=asked, task=tasks)
    def asks_anew(self, task: Task) -> Ask:
        """For a read, at once; it may be sent again."""
        ask = self.stage.ask(task)
        self._asks(ask, None)
        return ask

    @rule(grant_id=waiting)
    def collects(self, grant_id: str) -> None:
        """What was approved, perhaps."""
        with suppress(BrokerError):
            answer = collect(self.stage.broker, self.stage.bot, grant_id)
            if isinstance(answer, Issued):
                self._receives(answer)

    @rule(grant_id=waiting)
    def withdraws(self, grant_id: str) -> None:
        """The agent takes it back."""
        with suppress(BrokerError):
            withdraw(self.stage.broker, self.stage.bot, grant_id)

    @rule(task=tasks)
    def ends(self, task: Task) -> None:
        """The task, with its receipt."""
        with suppress(BrokerError):
            done = end_task(self.stage.broker, self.stage.bot, task.id)
            assert not [x for x in done.leases if x.state in LIVE]

    # --- people ----------------------------------------------------------------------------

    @rule(grant_id=waiting, yes=st.booleans())
    def decides(self, grant_id: str, yes: bool) -> None:
        """The approver says yes or no."""
        stage = self.stage
        with stage.broker.store.transaction() as tx:
            grant = tx.grant(grant_id)
        assert grant is not None
        fresh = stage.fresh(stage.approver, fresh_name(grant))
        with suppress(BrokerError):
            if yes:
                approve(stage.broker, fresh, grant_id, grant.shown_hash or "")
            else:
                deny(stage.broker, fresh, grant_id)

    @rule(task=tasks)
    def revokes(self, task: Task) -> None:
        """The owner revokes the task's newest lease."""
        with self.stage.broker.store.transaction() as tx:
            leases = tx.leases_of_task(task.id)
        for lease in leases[-1:]:
            revoke_lease(self.stage.broker, self.stage.owner, lease.id)

    @rule(target=kills, task=tasks, height=st.sampled_from((Height.TASK, Height.TARGET)))
    def stops(self, task: Task, height: Height) -> object:
        """The operator stops something, and works on it at once."""
        subject = task.id if height is Height.TASK else "orders-db"
        with suppress(BrokerError):
            ordered = kill(self.stage.broker, self.stage.operator, height, subject, "odd")
            kill_now(self.stage.broker, ordered)
            return ordered
        return multiple()

    @rule(ordered=kills)
    def releases(self, ordered: Kill) -> None:
        """Another operator lifts it."""
        other = self.stage.person("odd@example.com", roles={"operator"})
        with suppress(BrokerError):
            fresh = self.stage.fresh(other, f"release:{ordered.id}")
            release_kill(self.stage.broker, fresh, ordered.id)

    @rule(really=st.integers(0, 40))
    def disables(self, really: int) -> None:
        """Now and then the owner disables the agent; nothing is issued after that."""
        if really == 23:
            disable_agent(self.stage.broker, self.stage.owner, self.stage.agent.id)

    # --- what goes wrong -------------------------------------------------------------------

    @rule(error=st.sampled_from(TROUBLE), after=st.booleans())
    def the_next_mint_fails(self, error: type[BrokerError], after: bool) -> None:
        """Before or after its effect."""
        minter = self.stage.minter
        (minter.fail_after_mint if after else minter.fail_mint).append(error())

    @rule()
    def the_next_mint_is_not_asked_for(self) -> None:
        """Which is certain, so that its lease is over at once."""
        self.stage.minter.fail_mint.append(NotAsked())

    @rule(error=st.sampled_from(TROUBLE), after=st.booleans())
    def the_next_renewal_fails(self, error: type[BrokerError], after: bool) -> None:
        """Before or after its effect."""
        minter = self.stage.minter
        (minter.fail_after_renew if after else minter.fail_renew).append(error())

    @rule(error=st.sampled_from((MinterRefused, MinterUnavailable)))
    def the_next_end_fails(self, error: type[BrokerError]) -> None:
        """It will be tried again."""
        self.stage.minter.fail_end.append(error())

    @rule()
    def the_back_end_forgets(self) -> None:
        """One credential is gone, as after a restored backup."""
        for name in list(self.stage.minter.alive)[:1]:
            del self.stage.minter.alive[name]

    # --- the clock -------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 20, 31, 100, 300)))
    def time_passes(self, seconds: int) -> None:
        """And the clock ticks."""
        if self.moves_time:
            self.stage.pass_time(timedelta(seconds=seconds))
        self._tick()

    @rule()
    def compares(self) -> None:
        """Both ways, with the outside."""
        reconcile(self.stage.broker, "fake")

    # --- what always holds -----------------------------------------------------------------

    @invariant()
    def leases_move_as_they_may(self) -> None:
        """Fences only rise, and no state is left by a way that is not in the drawing."""
        for lease in self._leases():
            before = self.seen.get(lease.id)
            if before is not None and before != lease:
                assert lease.fence > before.fence
                assert _reachable(before.state, lease.state)
            self.seen[lease.id] = lease

    @invariant()
    def nothing_lives_that_should_not(self) -> None:
        """Under no kill in force, in no ended task; one at a time under each grant."""
        live = [x for x in self._leases() if x.state in LIVE]
        with self.stage.broker.store.transaction() as tx:
            kills = tx.kills_in_force()
            open_tasks = {x.id for x in tx.tasks(None, None) if x.state is TaskState.OPEN}
        for lease in live:
            reach = Reach(lease.agent_id, lease.task_id, lease.target, lease.id)
            assert not [x for x in kills if stops(x, reach)]
            assert lease.task_id in open_tasks
        assert len({x.grant_id for x in live}) == len(live)

    @invariant()
    def the_doctor_finds_nothing(self) -> None:
        """But what may be late because ending fails."""
        found = [x for x in doctor(self.stage.broker) if x.invariant != "I2"]
        assert found == []

    def teardown(self) -> None:
        """Once nothing fails any more and time has passed, nothing is out and all is proven."""
        minter = self.stage.minter
        renewing = (minter.fail_renew, minter.fail_after_renew)
        for trouble in (minter.fail_mint, minter.fail_after_mint, minter.fail_end, *renewing):
            trouble.clear()
        if not self.moves_time:
            return
        for _ in range(16):
            self.stage.pass_time(timedelta(minutes=5))
            self._tick()
            reconcile(self.stage.broker, "fake")
        assert minter.alive == {}
        assert {x.state for x in self._leases()} <= {LeaseState.ENDED}
        assert doctor(self.stage.broker) == []

    def _tick(self) -> None:
        broker = self.stage.broker
        time_out_grants(broker)
        end_overdue_tasks(broker)
        enforce_kills(broker)
        while sweep(broker):
            pass

    def _receives(self, answer: Issued) -> None:
        assert answer.lease.state is LeaseState.ACTIVE
        assert answer.lease.id not in self.handed_out
        earlier = [x for x in self._leases() if x.grant_id == answer.lease.grant_id]
        for lease in earlier:
            if lease.id in self.handed_out:
                assert lease.state is LeaseState.ENDED
        self.handed_out.add(answer.lease.id)
        self.ever_handed_out.append(answer.lease.id)

    def _newest_of(self, ask: Ask) -> str | None:
        with self.stage.broker.store.transaction() as tx:
            grant = tx.grant_by_key(ask.task_id, ask.idempotency_key)
        return grant.lease_id if grant else None

    def _leases(self) -> list[Lease]:
        with self.stage.broker.store.transaction() as tx:
            return list(tx.leases(None, None, None))


def _reachable(start: LeaseState, goal: LeaseState) -> bool:
    """One verb may make several moves."""
    known, fresh = {start}, {start}
    while fresh:
        fresh = {after for state in fresh for after in MOVES[state]} - known
        known |= fresh
    return goal in known
