"""The actors: what each of them does, through the real flows; and who plays in a schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.simulation.world import PEOPLE, READ, WRITE, World
from valetkey.core.ask import Ask
from valetkey.core.errors import AlreadyDelivered, BrokerError, InProgress
from valetkey.core.grant import GrantState
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState
from valetkey.flows import request_credential as requesting
from valetkey.flows.acknowledge import acknowledge
from valetkey.flows.agents import disable_agent
from valetkey.flows.approve import approve, fresh_name, withdraw
from valetkey.flows.collect import collect
from valetkey.flows.end_task import end_task
from valetkey.flows.kill import kill, kill_now, release_kill
from valetkey.flows.reconcile import reconcile
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.verdicts import Answer, Issued, Sealed, Waiting

TRIES = 3
HEIGHTS = (Height.LEASE, Height.TASK, Height.AGENT, Height.TARGET, Height.EVERYTHING)


def asks(world: World, key: str) -> None:
    """An agent that asks, loses answers, and asks for a new delivery under the same key."""
    lost: str | None = None
    for _ in range(TRIES):
        try:
            answer = _request(world, world.ask(READ, key), lost)
        except (AlreadyDelivered, InProgress) as problem:
            lost = problem.extra.get("lease_id") if world.random.random() < 0.7 else None
        except BrokerError as refusal:
            world.scheduler.tell(f"is refused: {refusal}")
        else:
            if isinstance(answer, Issued | Sealed):
                _receives(world, answer)
                if world.random.random() < 0.5:
                    return
                lost = answer.lease.id
        world.broker.clock.wait(world.random.choice((0.1, 1.0, 31.0)))


def collects(world: World, key: str) -> None:
    """An agent whose ask waits for a person, and who collects."""
    answer = _request(world, world.ask(WRITE, key), None)
    lost: str | None = None
    while isinstance(answer, Waiting):
        for _ in range(TRIES + 1):
            try:
                got = collect(world.broker, PEOPLE.bot, answer.grant.id, lost)
            except (AlreadyDelivered, InProgress) as problem:
                lost = problem.extra.get("lease_id")
            except BrokerError as refusal:
                world.scheduler.tell(f"is refused: {refusal}")
            else:
                if isinstance(got, Issued | Sealed):
                    _receives(world, got)
            world.broker.clock.wait(world.random.choice((0.1, 1.0, 31.0)))
        return


def fetches(world: World) -> None:
    """An agent that fetches its sealed answers again, wanted or not."""
    for _ in range(2 * TRIES):
        world.broker.clock.wait(world.random.choice((0.05, 0.1, 1.0, 31.0)))
        with world.broker.store.transaction() as tx:
            found = [x.id for x in tx.leases(None, None, None)][:2]
        for lease_id in found:
            try:
                world.parts.fetch(world.broker, PEOPLE.bot, lease_id)
            except BrokerError as refusal:
                world.scheduler.tell(f"is refused: {refusal}")
            else:
                world.scheduler.tell("fetches the secret of", lease_id)


def approves(world: World) -> None:
    """A person who says yes to whatever waits, until something did."""
    for _ in range(TRIES):
        with world.broker.store.transaction() as tx:
            waiting = tx.grants(GrantState.WAITING, None)
        for grant in waiting:
            fresh = world.fresh(PEOPLE.approver, fresh_name(grant))
            approve(world.broker, fresh, grant.id, grant.shown_hash or "")
            return
        world.broker.clock.wait(0.05)


def withdraws(world: World) -> None:
    """The agent takes back what still waits."""
    with world.broker.store.transaction() as tx:
        waiting = tx.grants(GrantState.WAITING, None)
    for grant in waiting:
        withdraw(world.broker, PEOPLE.bot, grant.id)


def sweeps(world: World) -> None:
    """A replica's clock."""
    for _ in range(TRIES):
        try:
            if world.random.random() < 0.5:
                world.tick()
            else:
                world.parts.sweep(world.broker, world.random.choice((1, 64)))
        except BrokerError as trouble:
            world.scheduler.tell(f"trouble: {trouble}")
        world.broker.clock.wait(world.random.choice((0.01, 1.0, 21.0, 100.0)))


def kills(world: World) -> None:
    """An operator who stops something; another may release it."""
    height = world.random.choice(HEIGHTS)
    leases = list(world.store.state.leases)
    subject = {
        Height.LEASE: leases[-1] if leases else "lease_unknown",
        Height.TASK: world.tasks[0].id,
        Height.AGENT: PEOPLE.bot.agent_id or "",
        Height.TARGET: "orders-db",
        Height.EVERYTHING: "",
    }[height]
    ordered = kill(world.broker, PEOPLE.operator, height, subject, "odd")
    world.watch.killed(ordered.id)
    if world.random.random() < 0.5:
        kill_now(world.broker, ordered)
    if world.random.random() < 0.4:
        fresh = world.fresh(PEOPLE.other_operator, f"release:{ordered.id}")
        release_kill(world.broker, fresh, ordered.id)


def renews(world: World) -> None:
    """An agent that keeps what it has alive: again and again, and not always once at a time."""
    for _ in range(TRIES):
        for lease in list(world.store.state.leases.values()):
            if lease.state is LeaseState.ACTIVE:
                _renews_one(world, lease.id)
                break
        world.broker.clock.wait(world.random.choice((0.1, 1.0, 60.0, 290.0)))


def _renews_one(world: World, lease_id: str) -> None:
    try:
        lease = world.parts.renew(world.broker, PEOPLE.bot, lease_id)
    except BrokerError as refusal:
        world.scheduler.tell(f"is refused: {refusal}")
    else:
        world.watch.renews(lease.id)
        world.scheduler.tell("has renewed", lease.id)


def acknowledges(world: World) -> None:
    """The agent says that what it has came."""
    for lease_id in list(world.store.state.leases)[-1:]:
        acknowledge(world.broker, PEOPLE.bot, lease_id)


def ends_task(world: World) -> None:
    """The agent ends its task."""
    end_task(world.broker, PEOPLE.bot, world.tasks[0].id)


def revokes(world: World) -> None:
    """The owner revokes the newest lease there is."""
    for lease_id in list(world.store.state.leases)[-1:]:
        revoke_lease(world.broker, PEOPLE.owner, lease_id)


def reconciles(world: World) -> None:
    """A replica compares with the outside."""
    reconcile(world.broker, "fake")


def disables(world: World) -> None:
    """The owner disables the agent."""
    disable_agent(world.broker, PEOPLE.owner, PEOPLE.bot.agent_id or "")


def forgets(world: World) -> None:
    """The back end loses an active credential, as one restored from a backup does."""
    world.scheduler.step("the back end forgets")
    for lease in world.store.state.leases.values():
        if lease.state is LeaseState.ACTIVE:
            world.back_end.there.pop(lease.handle.name, None)
            return


OTHERS: Mapping[str, Callable[[World], None]] = {
    "killer": kills,
    "ender": ends_task,
    "revoker": revokes,
    "reconciler": reconciles,
    "disabler": disables,
    "forgetter": forgets,
}


def cast(world: World) -> World:
    """Give the world its actors: one or two issuers, some sweepers, some others."""
    random, add = world.random, world.scheduler.cast
    add("issuer a", partial(asks, world, "key a"))
    luck = random.random()
    if luck < 0.6:
        add("issuer b", partial(asks, world, "key a" if luck < 0.4 else "key b"))
    elif luck < 0.8:
        add("collector", partial(collects, world, "key c"))
        add("approver", partial(approves, world))
        if luck > 0.75:
            add("withdrawer", partial(withdraws, world))
    for name in ("sweeper a", "sweeper b")[: random.choice((0, 1, 2, 2))]:
        add(name, partial(sweeps, world))
    for name in random.sample(list(OTHERS), random.choice((0, 1, 1, 2))):
        wait = random.choice((0.0, 0.0, 0.05, 30.0))
        add(name, partial(_later, world, wait, OTHERS[name]))
    if world.sealing:
        add("fetcher", partial(fetches, world))
    if world.renewable:
        for name in ("renewer a", "renewer b")[: random.choice((1, 1, 2))]:
            add(name, partial(renews, world))
        if random.random() < 0.3:
            add("acknowledger", partial(_later, world, random.choice((0.05, 30.0)), acknowledges))
    return world


def _later(world: World, wait: float, play: Callable[[World], None]) -> None:
    world.broker.clock.wait(wait)
    play(world)


def _request(world: World, ask: Ask, lost: str | None) -> Answer:
    """As `request_credential`, with the world's own way to issue."""
    if lost is not None:
        requesting._end_lost(world.broker, PEOPLE.bot, ask, lost)
    first = partial(_first, world, ask, lost)
    return world.parts.issue(world.broker, first)


def _first(world: World, ask: Ask, lost: str | None, tx: object) -> object:
    return requesting._first(world.broker, tx, PEOPLE.bot, ask, lost)  # type: ignore[arg-type]


def _receives(world: World, answer: Issued | Sealed) -> None:
    lease = answer.lease
    if isinstance(answer, Sealed) and lease.id in world.watch.delivered.get(lease.grant_id or "", ()):
        world.scheduler.tell("receives again the secret of", lease.id)
        return
    world.watch.hands_out(answer.lease.id)
    world.scheduler.tell("receives the secret of", answer.lease.id)
