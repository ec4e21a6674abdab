"""What only a real database can show: rows locked by others, races, rights, and its absence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from tests.contract.databases import Databases
from tests.contract.examples import MINUTE, Examples
from tests.faults.rows import row
from valetkey.core.errors import (
    BrokerError,
    Killed,
    LeaseEnded,
    StaleHeartbeat,
    StoreUnavailable,
    TaskEnded,
)
from valetkey.core.facts import Fact, FactKind, HistoryQuery
from valetkey.core.kill import Height, Reach
from valetkey.core.lease import LIVE, Lease, LeaseState, Patience, Proof
from valetkey.core.scope import Scope
from valetkey.flows.approve import approve, fresh_name
from valetkey.flows.collect import collect
from valetkey.flows.end_task import end_task
from valetkey.flows.heartbeat import heartbeat
from valetkey.flows.kill import kill, kill_now
from valetkey.flows.reconcile import reconcile
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued, Waiting
from valetkey.store.sql_store import SqlStore, open_store
from valetkey.testing.brokers import Stage

CLAIM = timedelta(seconds=20)
WRITE = "orders-db:write{region=eu}"


@pytest.fixture
def some(sql_store: SqlStore) -> Examples:
    """Examples around the database's time."""
    return Examples(sql_store)


@pytest.fixture
def grounded(sql_store: SqlStore, some: Examples) -> SqlStore:
    """The store with an agent, a task and a grant in it."""
    with sql_store.transaction() as tx:
        some.ground(tx)
    return sql_store


@pytest.fixture
def stage(sql_store: SqlStore) -> Stage:
    """A stage whose store is PostgreSQL."""
    return Stage(sql_store)


def at_once(pieces: Sequence[Callable[[], object]]) -> list[object]:
    """Do all of it at the same time; results, or the errors raised, in order."""
    gate = threading.Barrier(len(pieces))

    def run(piece: Callable[[], object]) -> object:
        gate.wait(timeout=20)
        try:
            return piece()
        except BrokerError as problem:
            return problem

    with ThreadPoolExecutor(len(pieces)) as threads:
        return list(threads.map(run, pieces))


def waits_for(store: SqlStore, count: int, databases: Databases, name: str) -> None:
    """Poll until so many sessions of this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    until = time.monotonic() + 10
    with psycopg.connect(databases.superuser("postgres"), autocommit=True) as connection:
        while time.monotonic() < until:
            row = connection.execute(query, [name]).fetchone()
            if row is not None and row[0] >= count:
                return
            threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def all_leases(store: SqlStore) -> list[Lease]:
    """Every lease there is."""
    with store.transaction() as tx:
        return list(tx.leases(None, None, None))


def test_two_claimers_never_share_a_lease(grounded: SqlStore, some: Examples) -> None:
    """What one has claimed and not committed, the other skips without waiting."""
    with grounded.transaction() as tx:
        for number in range(10):
            tx.add_lease(some.due(number, ago=60 - number))
    with grounded.transaction() as one, grounded.transaction() as two:
        first = {x.id for x in one.claim_due(4, CLAIM, (), ())}
        second = {x.id for x in two.claim_due(10, CLAIM, (), ())}
    assert len(first) == 4
    assert len(second) == 6
    assert not first & second


@row("F34")
def test_many_sweepers_claim_each_due_lease_once(grounded: SqlStore, some: Examples) -> None:
    """Eight at once, in small batches: every lease is taken exactly once."""
    with grounded.transaction() as tx:
        for number in range(120):
            tx.add_lease(some.due(number))

    def claim_all() -> list[str]:
        mine: list[str] = []
        while True:
            with grounded.transaction() as tx:
                batch = tx.claim_due(7, CLAIM, (), ())
            if not batch:
                return mine
            mine += [x.id for x in batch]

    taken = [x for mine in at_once([claim_all] * 8) for x in mine]  # type: ignore[attr-defined]
    assert len(taken) == len(set(taken)) <= 120
    with grounded.transaction() as tx:
        rest = tx.claim_due(200, CLAIM, (), ())
    assert len(taken) + len(rest) == 120


def test_a_claim_that_is_rolled_back_was_never_made(grounded: SqlStore, some: Examples) -> None:
    """The lease is still due, under its old fence."""
    with grounded.transaction() as tx:
        tx.add_lease(some.due(1))
    with suppress(ZeroDivisionError), grounded.transaction() as tx:
        tx.claim_due(1, CLAIM, (), ())
        raise ZeroDivisionError
    with grounded.transaction() as tx:
        assert [x.fence for x in tx.claim_due(1, CLAIM, (), ())] == [2]


def test_only_one_of_two_writers_of_one_reading_saves(grounded: SqlStore, some: Examples) -> None:
    """Compare and set, under real concurrency."""
    with grounded.transaction() as tx:
        tx.add_lease(some.lease())

    def save() -> bool:
        with grounded.transaction() as tx:
            return tx.save_lease(some.lease().ending("revoked", some.now))

    assert sorted(map(bool, at_once([save] * 6))) == [False] * 5 + [True]


def test_overdue_tasks_locked_by_another_are_skipped(grounded: SqlStore, some: Examples) -> None:
    """Two replicas never end the same task twice."""
    with grounded.transaction() as tx:
        tx.add_task(some.task(2, deadline_at=some.now - MINUTE))
    with grounded.transaction() as one, grounded.transaction() as two:
        assert [x.id for x in one.tasks_overdue(9)] == ["task_2"]
        assert two.tasks_overdue(9) == []


def test_overdue_grants_locked_by_another_are_skipped(grounded: SqlStore, some: Examples) -> None:
    """A grant that is being approved right now is not timed out under its approver."""
    with grounded.transaction() as tx:
        tx.add_grant(some.grant(2, waits_until=some.now))
    with grounded.transaction() as one, grounded.transaction() as two:
        assert one.grant("grant_2", lock=True) is not None
        assert two.grants_overdue("waiting", some.now) == []


def test_only_one_replica_leads_a_duty(sql_store: SqlStore) -> None:
    """Another duty is free, and this one is free again afterwards."""
    with sql_store.transaction() as one, sql_store.transaction() as two:
        assert one.try_lead("seal")
        assert not two.try_lead("seal")
        assert two.try_lead("reconcile")
    with sql_store.transaction() as tx:
        assert tx.try_lead("seal")


def test_a_proof_is_accepted_once_by_twenty_at_once(sql_store: SqlStore) -> None:
    """One replica wins, whichever it is."""
    until = sql_store.now() + MINUTE
    seen = at_once([lambda: sql_store.first_use("jti", "a", until)] * 20)
    assert sorted(map(bool, seen)) == [False] * 19 + [True]


def test_twenty_at_once_pin_one_key(sql_store: SqlStore) -> None:
    """All of them learn the same thumbprint."""
    until = sql_store.now() + MINUTE
    keys = [f"key-{number}" for number in range(20)]
    seen = at_once([lambda key=key: sql_store.pin("t", key, until) for key in keys])  # type: ignore[misc]
    assert len(set(seen)) == 1


def test_uses_are_forgotten_when_they_can_no_longer_matter(sql_store: SqlStore) -> None:
    """Only those past their instant."""
    now = sql_store.now()
    sql_store.first_use("jti", "old", now - MINUTE)
    sql_store.first_use("jti", "young", now + MINUTE)
    assert sql_store.forget_uses() == 1
    assert sql_store.first_use("jti", "old", now + MINUTE)
    assert not sql_store.first_use("jti", "young", now + MINUTE)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET outcome = 'x'",
        "DELETE FROM facts",
        "TRUNCATE facts",
        "ALTER TABLE facts DISABLE TRIGGER ALL",
        "DROP TABLE facts",
        "UPDATE decisions SET outcome = 'allow'",
        "DELETE FROM leases",
        "DELETE FROM approvals",
        "UPDATE approvals SET verdict = 'approve'",
        "UPDATE installation SET epoch = 2",
    ],
)
def test_the_application_cannot_rewrite_what_happened(
    sql_store: SqlStore, databases: Databases, database: str, statement: str
) -> None:
    """History, decisions and verdicts are only added to; leases are never deleted."""
    with sql_store.transaction() as tx:
        tx.record(Fact(FactKind.KNOCKED, "x"))
    plain = databases.app(database).replace("+psycopg", "")
    with psycopg.connect(plain) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)
    with sql_store.transaction() as tx:
        assert len(tx.history(HistoryQuery())) == 1


@pytest.mark.parametrize("statement", ["UPDATE facts SET outcome = 'x'", "DELETE FROM facts"])
def test_even_the_owner_does_not_rewrite_history_by_accident(
    databases: Databases, database: str, statement: str
) -> None:
    """A trigger stands in the way of the tables' owner too."""
    plain = databases.owner(database).replace("+psycopg", "")
    with psycopg.connect(plain) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_the_application_knows_that_it_is_not_the_owner(
    sql_store: SqlStore, databases: Databases, database: str
) -> None:
    """`serve` refuses to start as owner by this."""
    owner = open_store(databases.owner(database))
    assert not sql_store.owns_its_tables()
    assert owner.owns_its_tables()
    owner.close()


def test_every_database_has_a_name_of_its_own(databases: Databases) -> None:
    """The installation's name is fit for a mark."""
    store = open_store(databases.app(databases.fresh()))
    assert len(store.installation().split("e")[0]) == 6
    store.close()


def test_a_lost_database_is_said_so(databases: Databases, database: str) -> None:
    """Cut connections and a closed door are StoreUnavailable, and the next call finds its way."""
    store = open_store(databases.app(database), pool=1)
    with pytest.raises(StoreUnavailable), store.transaction() as tx:
        tx.agents()
        with psycopg.connect(databases.superuser("postgres"), autocommit=True) as root:
            cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
            root.execute(cut, [database])
        tx.agents()
    with store.transaction() as tx:
        assert tx.agents() == []
    store.close()
    nowhere = open_store("postgresql+psycopg://x:y@127.0.0.1:1/x")
    with pytest.raises(StoreUnavailable) as refused:
        nowhere.now()
    assert "127.0.0.1" not in str(refused.value)


@row("F08")
def test_who_stands_still_in_a_transaction_loses_it_and_its_locks(
    databases: Databases, database: str
) -> None:
    """The server hangs up on it: others get its locks in time, and its commit is refused."""
    patient, hasty = (
        open_store(databases.app(database), pool=1, answer=timedelta(seconds=seconds))
        for seconds in (2, 0.9)
    )
    with pytest.raises(StoreUnavailable), hasty.transaction() as frozen:
        frozen.close_barrier()
        with patient.transaction() as tx:
            tx.hold_barrier()
        frozen.agents()
    for store in (patient, hasty):
        store.close()


def test_a_lock_that_is_never_given_is_not_waited_for_for_ever(
    databases: Databases, database: str
) -> None:
    """What waits longer than one answer may take is StoreUnavailable; its connection is kept."""
    store = open_store(databases.app(database), answer=timedelta(seconds=0.3))
    holder = open_store(databases.app(database))
    with holder.transaction() as tx:
        tx.close_barrier()
        with pytest.raises(StoreUnavailable), store.transaction() as refused:
            refused.hold_barrier()
    with store.transaction() as tx:
        tx.hold_barrier()
        assert tx.agents() == []
    for one in (store, holder):
        one.close()


def test_an_ask_waits_for_a_task_that_is_ending_and_is_then_refused(
    stage: Stage, sql_store: SqlStore, databases: Databases, database: str
) -> None:
    """The ask that raced the end sees the end."""
    task = stage.start()
    met: list[object] = []

    def ask() -> None:
        try:
            request_credential(stage.broker, stage.bot, stage.ask(task))
        except BrokerError as refused:
            met.append(type(refused))

    racing = threading.Thread(target=ask)
    with sql_store.transaction() as tx:
        locked = tx.task(task.id, lock=True)
        assert locked is not None
        racing.start()
        waits_for(sql_store, 1, databases, database)
        tx.save_task(locked.ended("ended", tx.now()))
    racing.join(timeout=20)
    assert met == [TaskEnded]
    assert all_leases(sql_store) == []


def test_the_same_key_asked_many_times_at_once_mints_once(stage: Stage) -> None:
    """One credential; all the others are told that it is in progress."""
    ask = stage.ask(stage.start())
    answers = at_once([lambda: request_credential(stage.broker, stage.bot, ask)] * 10)
    assert sum(isinstance(x, Issued) for x in answers) == 1
    assert sorted({x.code for x in answers if isinstance(x, BrokerError)}) == ["in_progress"]
    assert len(stage.minter.secrets_made) == 1


def test_collecting_many_times_at_once_mints_once(stage: Stage) -> None:
    """An approval is used once."""
    waiting = request_credential(stage.broker, stage.bot, stage.ask(stage.start(), WRITE))
    assert isinstance(waiting, Waiting)
    grant = waiting.grant
    fresh = stage.fresh(stage.approver, fresh_name(grant))
    approve(stage.broker, fresh, grant.id, grant.shown_hash or "")
    answers = at_once([lambda: collect(stage.broker, stage.bot, grant.id)] * 10)
    assert sum(isinstance(x, Issued) for x in answers) == 1
    assert len(stage.minter.secrets_made) == 1


def test_a_kill_waits_for_authority_being_made_and_then_sees_it(
    sql_store: SqlStore, some: Examples, databases: Databases, database: str
) -> None:
    """The write skew: a writer that saw no kill commits before the kill, and is found by it."""
    with sql_store.transaction() as tx:
        some.ground(tx)
    found: list[str] = []

    def order() -> None:
        with sql_store.transaction() as tx:
            tx.close_barrier()
            tx.add_kill(some.kill())
        with sql_store.transaction() as tx:
            found.extend(x.id for x in tx.live_leases(some.kill(), 9))

    killer = threading.Thread(target=order)
    with sql_store.transaction() as tx:
        tx.hold_barrier()
        assert tx.kills_over(Reach(agent_id="agent_1")) == []
        killer.start()
        waits_for(sql_store, 1, databases, database)
        tx.add_lease(some.lease())
    killer.join(timeout=20)
    assert found == ["lease_0001"]


def test_a_writer_that_waits_for_a_kill_sees_it(
    sql_store: SqlStore, some: Examples, databases: Databases, database: str
) -> None:
    """Kills are read in a statement after the barrier was taken, so nothing slips past."""
    seen: list[int] = []

    def write() -> None:
        with sql_store.transaction() as tx:
            tx.hold_barrier()
            seen.append(len(tx.kills_over(Reach(agent_id="agent_1"))))

    writer = threading.Thread(target=write)
    with sql_store.transaction() as tx:
        tx.close_barrier()
        writer.start()
        waits_for(sql_store, 1, databases, database)
        tx.add_kill(some.kill())
    writer.join(timeout=20)
    assert seen == [1]


@row("F36")
@pytest.mark.parametrize(
    ("height", "subject"),
    [
        (Height.EVERYTHING, ""),
        (Height.OWNER, "olivia@example.com"),
        (Height.VENDOR, "acme"),
        (Height.ISSUER, "cluster"),
        (Height.SCOPE, "orders-db:read{region=eu}"),
    ],
)
def test_after_a_kill_among_many_asks_nothing_is_active_or_handed_out(
    stage: Stage, height: Height, subject: str
) -> None:
    """Whatever was handed out was active before the kill; it is ending, and nothing follows."""
    task = stage.start()
    delivered: list[Lease] = []

    def ask_until_killed() -> BrokerError:
        for _ in range(500):
            try:
                answer = request_credential(stage.broker, stage.bot, stage.ask(task))
            except (Killed, LeaseEnded) as refused:
                return refused
            assert isinstance(answer, Issued)
            delivered.append(answer.lease)
        raise AssertionError("the kill never came")

    def order() -> None:
        until = time.monotonic() + 10
        while len(delivered) < 12 and time.monotonic() < until:
            threading.Event().wait(0.01)
        kill(stage.broker, stage.operator, height, subject, "odd")

    met = at_once([ask_until_killed] * 6 + [order])
    assert all(isinstance(x, Killed | LeaseEnded) for x in met[:6])
    with stage.broker.store.transaction() as tx:
        (ordered,) = tx.kills_in_force()
        assert not [x for x in tx.leases(None, None, None) if x.state in LIVE]
    assert max(x.activated_at for x in delivered if x.activated_at) < ordered.at
    kill_now(stage.broker, ordered)
    assert stage.minter.alive == {}


def test_of_many_beats_with_one_fence_exactly_one_is_taken(stage: Stage) -> None:
    """Two processes that think they run the same task find out at their next beat."""
    plan = Plan("a refund", (Scope("orders-db", "read"),), timedelta(hours=1), timedelta(seconds=9))
    task = start_task(stage.broker, stage.bot, plan)

    def beat() -> int:
        try:
            return heartbeat(stage.broker, stage.bot, task.id, task.beat_fence).beat_fence
        except StaleHeartbeat:
            return 0

    assert sorted(at_once([beat] * 8)) == [0] * 7 + [task.beat_fence + 1]


def test_collecting_and_ending_the_task_at_once_never_deadlock(stage: Stage) -> None:
    """Locks are taken task first: one wins, the other is refused, the database is not blamed."""
    for _ in range(8):
        task = stage.start()
        answer = request_credential(stage.broker, stage.bot, stage.ask(task, WRITE))
        assert isinstance(answer, Waiting)
        grant = answer.grant
        fresh = stage.fresh(stage.approver, fresh_name(grant))
        approve(stage.broker, fresh, grant.id, grant.shown_hash or "")
        met = at_once(
            [
                lambda grant=grant: collect(stage.broker, stage.bot, grant.id),
                lambda task=task: end_task(stage.broker, stage.bot, task.id),
            ]
        )
        assert not [x for x in met if isinstance(x, StoreUnavailable)]
    sweep(stage.broker)
    assert stage.minter.alive == {}


def test_a_mint_that_outlived_its_lease_reopens_it_in_the_database(stage: Stage) -> None:
    """The row's own checks allow the way back, and the new end has a proof again."""
    hasty = Patience(mint_limit=timedelta(milliseconds=1), second_tap=timedelta(0))
    broker = replace(stage.broker, patience=hasty)

    def overtake() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until and all_leases(stage.broker.store)[0].proof is None:  # type: ignore[arg-type]
            sweep(broker)

    stage.minter.after_mint = overtake
    with pytest.raises(LeaseEnded):
        request_credential(broker, stage.bot, stage.ask(stage.start()))
    (lease,) = all_leases(stage.broker.store)  # type: ignore[arg-type]
    assert (lease.state, lease.proof) == (LeaseState.ENDING, None)
    sweep(broker)
    (lease,) = all_leases(stage.broker.store)  # type: ignore[arg-type]
    assert lease.proof is Proof.VERIFIED


def test_the_whole_journey_on_postgres(stage: Stage) -> None:
    """Ask, wait, approve, collect, reconcile, end: the receipt proves both ends."""
    task = stage.start()
    request_credential(stage.broker, stage.bot, stage.ask(task))
    answer = request_credential(stage.broker, stage.bot, stage.ask(task, WRITE))
    assert isinstance(answer, Waiting)
    grant = answer.grant
    fresh = stage.fresh(stage.approver, fresh_name(grant))
    approve(stage.broker, fresh, grant.id, grant.shown_hash or "")
    collect(stage.broker, stage.bot, grant.id)
    assert reconcile(stage.broker, "fake").seen == 2
    done = end_task(stage.broker, stage.bot, task.id)
    assert [x.proof for x in done.leases] == [Proof.VERIFIED] * 2
    assert Scope.parse(done.leases[0].scope).target == "orders-db"
    assert stage.minter.alive == {}

def test_what_is_urgent_waits_behind_no_requests(databases: Databases) -> None:
    """With every connection for requests held, a kill, the clock and health still have theirs."""
    store = open_store(databases.app(databases.fresh()), pool=2, kept=2)
    with ExitStack() as held:
        for _ in range(2 + 4):
            held.enter_context(store.transaction())
        with store.urgent():
            with store.transaction() as tx:
                assert tx.kills_in_force() == []
            assert store.due() == frozenset()
    store.close()
