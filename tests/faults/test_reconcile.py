"""What exists outside and nobody wrote down, what was written down and is gone, and strangers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import uuid6

from tests.faults.ground import (
    Ground,
    ask_for,
    get,
    lease_of,
    start,
    until_ended,
    until_true,
)
from tests.faults.rows import row
from valetkey.bootstrap import House
from valetkey.core.facts import FactKind, HistoryQuery
from valetkey.core.ids import LeaseId, Mark, base32
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.statements import forgotten_body
from valetkey.devstack.bao_api import Bao, BaoRefused
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.reconcile import reconcile

MINTER = "openbao-database"


def make_role(ground: Ground, name: str) -> dict[str, object]:
    """A login role as the manager makes them, without any lease at OpenBao; how to log in."""
    ground.look(
        f'SET ROLE valetkey_manager; CREATE ROLE "{name}" LOGIN PASSWORD \'known\''
        " CONNECTION LIMIT 4 ROLE valetkey_manager;"
        f' GRANT orders_eu_reader TO "{name}" WITH INHERIT TRUE, SET FALSE'
    )
    where: dict[str, object] = {"host": "127.0.0.1", "port": ground.stack.postgres.port}
    return {**where, "database": "orders", "username": name, "password": "known"}


def mark(installation: str) -> Mark:
    """A mark of a lease that nobody has."""
    return Mark.of(installation, "0" * 12, LeaseId(f"lease_{base32(uuid6.uuid7().bytes)}"))


def kinds(house: House, lease_id: str) -> list[FactKind]:
    """What history tells of a lease, newest first."""
    with house.store.transaction() as tx:
        found: Sequence = tx.history(HistoryQuery(lease_id=lease_id, limit=50))
    return [recorded.fact.kind for recorded in found]


@row("F17")
def test_a_role_that_openbao_has_no_lease_for_is_found_and_ended(
    ground: Ground, house: House
) -> None:
    """A killed OpenBao leaves a role that it forgot; it is adopted, and dropped all the same."""
    lost = mark(ground.installation)
    secret = make_role(ground, str(lost))
    with ground.connect(secret) as session:
        assert {(x.invariant) for x in doctor(house.broker)} == {"I1"}
        outcome = reconcile(house.broker, MINTER)
        assert outcome.unknown == [lost.lease_id]
        assert until_ended(house, lost.lease_id).proof is Proof.VERIFIED
        assert session.pgconn.status == 0
        until_true(lambda: ground.refuses(secret), 5)
    assert FactKind.LEASE_ADOPTED in kinds(house, lost.lease_id)


def test_a_lease_that_reappears_is_reopened_and_ended_again(ground: Ground, house: House) -> None:
    """Somebody brings an ended lease's role back: that is a fact, an alarm, and another end."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    assert end_task(house.broker, bot, task.id).complete
    secret = make_role(ground, issued.lease.handle.name)
    assert {x.invariant for x in doctor(house.broker)} == {"I4"}
    assert reconcile(house.broker, MINTER).reappeared == [issued.lease.id]
    assert until_ended(house, issued.lease.id).end_reason == "reappeared"
    assert ground.refuses(secret)
    assert FactKind.LEASE_REAPPEARED in kinds(house, issued.lease.id)


def test_a_role_that_somebody_gave_a_longer_life_is_named(ground: Ground, house: House) -> None:
    """An administrator of the target moves VALID UNTIL: doctor names the lease, and only it."""
    bot = ground.bot(house)
    issued = get(house, bot, ask_for(start(house, bot)))
    name = issued.lease.handle.name
    ground.look(f"ALTER ROLE \"{name}\" VALID UNTIL 'infinity'")
    assert [(x.invariant, x.about) for x in doctor(house.broker)] == [("I3", issued.lease.id)]


@row("F03")
def test_a_role_left_at_openbao_alone_is_found_and_ended(ground: Ground, house: House) -> None:
    """A frozen writer may write a role after its lease had ended: nobody reads it, and it goes."""
    lost = mark(ground.installation)
    bao = ground.stack.openbao.as_root()
    bao.write(
        f"database-orders/roles/{lost}",
        db_name="orders-0",
        creation_statements="SELECT 1",
        default_ttl="60s",
        max_ttl="60s",
    )
    assert reconcile(house.broker, MINTER).unknown == [lost.lease_id]
    assert until_ended(house, lost.lease_id).state is LeaseState.ENDED


def test_another_installations_role_is_reported_and_not_touched(
    ground: Ground, house: House
) -> None:
    """A stranger's mark is a fact; its role stays as it was."""
    foreign = mark("vvvvvve1")
    secret = make_role(ground, str(foreign))
    try:
        outcome = reconcile(house.broker, MINTER)
        assert outcome.foreign == [str(foreign)]
        assert outcome.unknown == []
        assert doctor(house.broker) == []
        ground.connect(secret).close()
    finally:
        ground.look(f'DROP OWNED BY "{foreign}"; DROP ROLE "{foreign}"')


def test_a_lease_whose_role_is_gone_has_vanished(ground: Ground, house: House) -> None:
    """An administrator drops the role and OpenBao's lease: our record follows, as verified."""
    bot = ground.bot(house)
    issued = get(house, bot, ask_for(start(house, bot)))
    name = issued.lease.handle.name
    bao = ground.stack.openbao.as_root()
    bao.call("PUT", f"sys/leases/revoke-prefix/database-orders/creds/{name}", {"sync": True})
    bao.delete(f"database-orders/roles/{name}")
    assert reconcile(house.broker, MINTER).vanished == [issued.lease.id]
    vanished = lease_of(house, issued.lease.id)
    assert (vanished.end_reason, vanished.proof) == ("vanished", Proof.VERIFIED)


def test_a_role_dropped_by_hand_leaves_no_lease_at_openbao(ground: Ground, house: House) -> None:
    """Dropped in the target only, the lease still ends, at OpenBao too."""
    bot = ground.bot(house)
    task = start(house, bot)
    issued = get(house, bot, ask_for(task))
    ground.look(f'DROP OWNED BY "{issued.lease.handle.name}"')
    ground.look(f'DROP ROLE "{issued.lease.handle.name}"')
    assert end_task(house.broker, bot, task.id).complete


@pytest.mark.parametrize(
    "changed",
    [
        {"creation_statements": "ALTER ROLE valetkey_manager SUPERUSER"},
        {"revocation_statements": "DROP TABLE orders"},
        {"max_ttl": "24h"},
    ],
)
def test_the_way_to_end_forgotten_roles_ends_nothing_else(
    ground: Ground, changed: dict[str, str]
) -> None:
    """The ender may write such a role only with the one text, and reads no other credential."""
    token = ground.stack.identity_token_file.read_text()
    ender = Bao(ground.stack.openbao.address).login("valetkey-ender", token)
    name = f"end-{mark(ground.installation)}"
    with pytest.raises(BaoRefused) as refused:
        ender.write(f"database-orders/roles/{name}", **{**forgotten_body("orders-0"), **changed})
    assert refused.value.status == 403
    with pytest.raises(BaoRefused) as refused:
        ender.read(f"database-orders/creds/{mark(ground.installation)}")
    assert refused.value.status == 403


def test_a_forgotten_role_that_owns_something_waits_for_a_human(
    ground: Ground, house: House
) -> None:
    """Nothing it owns is dropped unasked: it cannot log in, and its lease names the problem."""
    lost = mark(ground.installation)
    secret = make_role(ground, str(lost))
    ground.look(f'CREATE TABLE kept (id int); ALTER TABLE kept OWNER TO "{lost}"')
    try:
        assert reconcile(house.broker, MINTER).unknown == [lost.lease_id]
        until_true(lambda: ground.refuses(secret), 10)
        until_true(lambda: lease_of(house, lost.lease_id).tries > 3, 20)
        assert lease_of(house, lost.lease_id).last_error
    finally:
        ground.look("DROP TABLE kept")
    assert until_ended(house, lost.lease_id).proof is Proof.VERIFIED
