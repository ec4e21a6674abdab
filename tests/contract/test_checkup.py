"""Every rule that our own records can break: planted, found, and found alone; in each store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.contract.databases import Databases
from tests.contract.examples import MINUTE, Examples
from valetkey.core.decision import Outcome
from valetkey.core.facts import Fact, FactKind
from valetkey.core.invariants import CHECKED, ELSEWHERE, TOLD, Rule, Terms, violation
from valetkey.core.kill import Height
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.core.task import TaskState
from valetkey.ports import Store, Transaction
from valetkey.store.sql_store import SqlStore

HOUR = 60 * MINUTE
Plant = Callable[[Transaction, Examples], object]


def terms(some: Examples) -> Terms:
    """A minute is late, ten are soon, a day is lately."""
    return Terms(some.now - MINUTE, some.now + 10 * MINUTE, some.now - 24 * HOUR)


def told(lease: Lease, kind: FactKind = FactKind.LEASE_MINTED, **body: object) -> Fact:
    """A fact with the state and the fence of a lease."""
    usual = {"state": lease.state.value, "fence": lease.fence}
    return Fact(kind, "issuer", lease_id=lease.id, target=lease.target, body={**usual, **body})


def written(tx: Transaction, lease: Lease, **body: object) -> None:
    """A lease, and history that tells of it."""
    tx.add_lease(lease)
    tx.record(told(lease, FactKind.LEASE_WRITTEN))
    tx.record(told(lease, **body))


def plain(tx: Transaction, some: Examples, **changes: Any) -> None:
    """The first lease with these changes, well told of."""
    written(tx, some.lease(**changes))


def two_live(tx: Transaction, some: Examples) -> None:
    """Two leases of one grant."""
    written(tx, some.lease(1))
    written(tx, some.lease(2))


def in_ended_task(tx: Transaction, some: Examples) -> None:
    """The task ended, and nobody told its lease."""
    plain(tx, some)
    ended = replace(some.task(), state=TaskState.ENDED, ended_at=some.now + 2 * MINUTE)
    tx.save_task(ended)


def born_late(tx: Transaction, some: Examples) -> None:
    """Made a minute after its task had ended; ended since."""
    over = {"state": LeaseState.ENDED, "proof": Proof.VERIFIED, "due_at": None}
    plain(tx, some, ended_at=some.now + 2 * MINUTE, created_at=some.now + 2 * MINUTE, **over)
    tx.save_task(replace(some.task(), state=TaskState.ENDED, ended_at=some.now + MINUTE))


def under_kill(tx: Transaction, some: Examples) -> None:
    """A kill of two minutes ago, and what it covers lives."""
    plain(tx, some, activated_at=some.now - 5 * MINUTE)
    tx.add_kill(some.kill(height=Height.TASK, subject="task_1", at=some.now - 2 * MINUTE))


def activated_under_kill(tx: Transaction, some: Examples) -> None:
    """It became active, and was ended, while a kill was in force that is released now."""
    over = {"state": LeaseState.ENDED, "proof": Proof.VERIFIED, "due_at": None}
    plain(tx, some, activated_at=some.now - 5 * MINUTE, ended_at=some.now - MINUTE, **over)
    at, released = some.now - 10 * MINUTE, some.now - 2 * MINUTE
    lifted = {"released_at": released, "released_by": "odd"}
    tx.add_kill(some.kill(height=Height.AGENT, subject="agent_1", at=at, **lifted))


def untold(tx: Transaction, some: Examples) -> None:
    """History says that it ends, and it is active."""
    plain(tx, some)
    tx.record(told(some.lease(), state="ending"))


def fact_of_nothing(tx: Transaction, some: Examples) -> None:
    """History tells of a lease that somebody deleted; it was not written here."""
    plain(tx, some)
    tx.record(told(some.lease(9)))


def fence_back(tx: Transaction, some: Examples) -> None:
    """An older fence told after a newer one."""
    plain(tx, some, fence=5)
    tx.record(told(some.lease(fence=4)))


def fence_ahead(tx: Transaction, some: Examples) -> None:
    """A fence told that the lease has never had."""
    plain(tx, some, fence=5)
    tx.record(told(some.lease(fence=6)))


def denied(tx: Transaction, some: Examples) -> None:
    """The grant's decision was a denial."""
    tx.record_decision("decision_1", replace(some.decision(), outcome=Outcome.DENY))
    tx.save_grant(some.grant(decision_id="decision_1"))
    plain(tx, some)


def wider(tx: Transaction, some: Examples) -> None:
    """The task may read only one region, and the lease reads another."""
    tx.save_task(replace(some.task(), scopes=(Scope.parse("orders-db:read{region=us}"),)))
    plain(tx, some)


def uncounted(tx: Transaction, some: Examples) -> None:
    """A lease that history never saw written."""
    tx.add_lease(some.lease())
    tx.record(told(some.lease()))


PLANTED: Mapping[str, tuple[Rule, str, Plant]] = {
    "past_end": (
        Rule.PAST_END,
        "lease_0001",
        lambda tx, some: plain(tx, some, expires_at=some.now - 2 * MINUTE),
    ),
    "overlong": (
        Rule.OVERLONG,
        "lease_0001",
        lambda tx, some: plain(
            tx, some, expires_at=some.now + HOUR, backend_expires_at=some.now + MINUTE
        ),
    ),
    "forgotten": (
        Rule.FORGOTTEN,
        "lease_0001",
        lambda tx, some: plain(tx, some, due_at=some.now + 9 * HOUR),
    ),
    "two_live": (Rule.TWO_LIVE, "grant_1", two_live),
    "in_ended_task": (Rule.IN_ENDED_TASK, "lease_0001", in_ended_task),
    "born_late": (Rule.BORN_LATE, "lease_0001", born_late),
    "under_kill": (Rule.UNDER_KILL, "lease_0001", under_kill),
    "activated_under_kill": (Rule.ACTIVATED_UNDER_KILL, "lease_0001", activated_under_kill),
    "untold": (Rule.UNTOLD, "lease_0001", untold),
    "fact_of_nothing": (Rule.FACT_OF_NOTHING, "lease_0009", fact_of_nothing),
    "fence_back": (Rule.FENCE_BACK, "lease_0001", fence_back),
    "fence_ahead": (Rule.FENCE_BACK, "lease_0001", fence_ahead),
    "denied": (Rule.DENIED, "lease_0001", denied),
    "wider": (Rule.WIDER, "lease_0001", wider),
    "uncounted": (Rule.UNCOUNTED, "orders-db", uncounted),
}
UNCHECKED_BY_PORT = {Rule.GIVEN_UP_BY_NOBODY}


@pytest.fixture
def some(store: Store) -> Examples:
    """Examples around the store's time, on an agent, a task and a grant."""
    made = Examples(store)
    with store.transaction() as tx:
        made.ground(tx)
    return made


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_breach_is_found_and_nothing_else(
    store: Store, some: Examples, name: str
) -> None:
    """One query each, with what breaks it."""
    rule, about, plant = PLANTED[name]
    with store.transaction() as tx:
        plant(tx, some)
    with store.transaction() as tx:
        assert list(tx.broken(terms(some))) == [(rule, about)]


def test_a_well_kept_store_breaks_nothing(store: Store, some: Examples) -> None:
    """Live and ended leases, well told of, under no kill."""
    over = {"state": LeaseState.ENDED, "proof": Proof.VERIFIED, "due_at": None}
    with store.transaction() as tx:
        plain(tx, some)
        written(tx, some.lease(2, ended_at=some.now, **over))
        written(tx, some.due(3))
    with store.transaction() as tx:
        assert list(tx.broken(terms(some))) == []


def test_history_is_looked_at_only_so_far_back(store: Store, some: Examples) -> None:
    """What ended long ago is left alone, unless one asks for it."""
    over = {"state": LeaseState.ENDED, "proof": Proof.VERIFIED, "due_at": None}
    with store.transaction() as tx:
        plain(tx, some, ended_at=some.now - 48 * HOUR, **over)
        tx.record(told(some.lease(), state="ending"))
    with store.transaction() as tx:
        assert list(tx.broken(terms(some))) == []
        asked = replace(terms(some), since=some.now - 72 * HOUR)
        assert list(tx.broken(asked)) == [(Rule.UNTOLD, "lease_0001")]


def test_every_rule_is_planted_and_every_invariant_has_its_place() -> None:
    """None is checked by nothing; I1 to I20 are checked here, by looking, or proven elsewhere."""
    planted = {rule for rule, _, _ in PLANTED.values()}
    assert planted | UNCHECKED_BY_PORT == set(Rule) == set(TOLD)
    assert {invariant for invariant, _ in TOLD.values()} <= set(CHECKED)
    assert {*CHECKED, *ELSEWHERE} == {f"I{number}" for number in range(1, 21)}
    assert not set(CHECKED) & set(ELSEWHERE)


def test_what_the_database_itself_refuses_is_found_all_the_same(
    sql_store: SqlStore, databases: Databases, database: str
) -> None:
    """A lease written off by nobody, from before there was a constraint."""
    made = Examples(sql_store)
    over = {"state": LeaseState.ENDED, "due_at": None, "ended_at": made.now}
    by = {"written_off_by": "opal", "written_off_reason": "gone with its host"}
    with sql_store.transaction() as tx:
        made.ground(tx)
        written(tx, made.lease(proof=Proof.WRITTEN_OFF, **over, **by))
    with sql_store.transaction() as tx:
        assert list(tx.broken(terms(made))) == []
    with psycopg.connect(databases.owner(database).replace("+psycopg", "")) as owner:
        owner.execute("ALTER TABLE leases DROP CONSTRAINT ck_leases_written_off_by_somebody")
        owner.execute("UPDATE leases SET written_off_by = NULL")
    with sql_store.transaction() as tx:
        ((rule, about),) = tx.broken(terms(made))
    assert violation(rule, about).invariant == "I20"


def test_no_more_of_one_kind_is_told_than_one_can_read(sql_store: SqlStore) -> None:
    """A store in ruins still gives an answer of a size."""
    made = Examples(sql_store)
    with sql_store.transaction() as tx:
        made.ground(tx)
        for number in range(1, 6):
            written(tx, replace(made.due(number), due_at=made.now + 9 * HOUR))
    with sql_store.transaction() as tx:
        assert len(tx.broken(replace(terms(made), limit=3))) == 3
