"""Somebody has the logins of the server at OpenBao, and uses them beside it and beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest

from tests.faults.ground import (
    READ,
    WRITE,
    Ground,
    ask_for,
    get,
    lease_of,
    operator,
    start,
    until_ended,
)
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError
from valetkey.core.ids import LeaseId, Mark, lease_id_of
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.scope import Scope
from valetkey.core.statements import database_role, lane
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.reconcile import reconcile
from valetkey.minters.bao import Bao, Login
from valetkey.minters.pins import role_body

MOUNT = "database-orders"
Send = Callable[[str, str, str, dict[str, object] | None], bool]


@pytest.fixture
def logins(ground: Ground) -> Iterator[dict[str, Login]]:
    """The four logins, by what they are for."""
    bao = Bao(ground.stack.openbao.address)
    identity = ground.stack.identity_token_file
    names = ("writer", "reader", "ender", "inspector")
    yield {name: Login(bao, f"valetkey-{name}", identity) for name in names}


@pytest.fixture
def refused(ground: Ground, logins: dict[str, Login]) -> Send:
    """Whether OpenBao refuses one request under one of the logins."""
    bao = Bao(ground.stack.openbao.address)

    def send(who: str, method: str, path: str, body: dict[str, object] | None = None) -> bool:
        try:
            bao.call(logins[who], method, path, body)
        except BrokerError:
            return True
        return False

    return send


def minted_beside(
    house: House, logins: dict[str, Login], name: str, scope: str
) -> psycopg.Connection[object]:
    """A session under a login that a thief minted under this name, with our writer and reader."""
    catalogue = house.broker.rules().catalogue
    wanted = catalogue.find(Scope.parse(scope))
    role = database_role(wanted, lane(wanted.target, ""))
    body: dict[str, object] = dict(role_body(role, timedelta(minutes=5)))
    bao = logins["writer"]._bao
    bao.call(logins["writer"], "POST", f"{MOUNT}/roles/{name}", body)
    login = bao.call(logins["reader"], "GET", f"{MOUNT}/creds/{name}")["data"]
    where = wanted.target.address
    return psycopg.connect(
        host=str(where["host"]),
        port=int(str(where["port"])),
        dbname=str(where["database"]),
        user=str(login["username"]),
        password=str(login["password"]),
        autocommit=True,
    )


def digest_of(house: House, scope: str) -> str:
    """The digest that pins allow in the name of this scope's roles."""
    wanted = house.broker.rules().catalogue.find(Scope.parse(scope))
    return database_role(wanted, lane(wanted.target, "")).digest


def test_a_login_minted_under_the_mark_of_a_living_lease_is_found_and_ended(
    house: House, ground: Ground, logins: dict[str, Login]
) -> None:
    """The thief hides a writer behind the id of somebody's reader; the reader is left alone."""
    bot = ground.bot(house)
    ours = get(house, bot, ask_for(start(house, bot), READ)).lease
    name = str(Mark.of(ground.installation, digest_of(house, WRITE), ours.id))
    with minted_beside(house, logins, name, WRITE) as session:
        assert [violation.invariant for violation in doctor(house.broker)] == ["I1"]
        assert reconcile(house.broker, "openbao-database").unknown == [lease_id_of(name)]
        assert until_ended(house, lease_id_of(name)).proof is Proof.VERIFIED
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert lease_of(house, ours.id).state is LeaseState.ACTIVE


def test_a_login_minted_under_the_mark_of_an_ended_lease_is_ended_itself(
    house: House, ground: Ground, logins: dict[str, Login]
) -> None:
    """It is not enough to end the old lease again, whose role is another."""
    bot = ground.bot(house)
    ours = get(house, bot, ask_for(start(house, bot), READ)).lease
    end_task(house.broker, operator(), str(ours.task_id))
    until_ended(house, ours.id)
    name = str(Mark.of(ground.installation, digest_of(house, WRITE), ours.id))
    with minted_beside(house, logins, name, WRITE) as session:
        reconcile(house.broker, "openbao-database")
        until_ended(house, lease_id_of(name))
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert lease_of(house, ours.id).proof is Proof.VERIFIED


def test_a_login_minted_under_a_name_that_is_no_mark_is_found_and_ended(
    house: House, ground: Ground, logins: dict[str, Login]
) -> None:
    """Whatever our writer may make, we find."""
    name = f"vk-{ground.installation}-{digest_of(house, WRITE)}-hidden.well"
    with minted_beside(house, logins, name, WRITE) as session:
        assert reconcile(house.broker, "openbao-database").unknown == [lease_id_of(name)]
        until_ended(house, LeaseId(lease_id_of(name)))
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_each_login_does_one_thing(ground: Ground, house: House, refused: Send) -> None:
    """No login reaches what another is for, the engine's configuration, or its own policy."""
    bot = ground.bot(house)
    ours = get(house, bot, ask_for(start(house, bot), READ)).lease
    role, creds = f"{MOUNT}/roles/{ours.handle.name}", f"{MOUNT}/creds/{ours.handle.name}"
    superuser: dict[str, object] = {
        "db_name": "orders-0",
        "creation_statements": "CREATE ROLE \"{{name}}\" SUPERUSER LOGIN PASSWORD '{{password}}'",
        "revocation_statements": "SELECT 1",
        "default_ttl": "60s",
        "max_ttl": "60s",
    }
    beyond: dict[str, list[tuple[str, str, dict[str, object] | None]]] = {
        "writer": [
            ("GET", creds, None),
            ("DELETE", role, None),
            ("POST", role, superuser),
            ("POST", f"{MOUNT}/roles/end-vk-x", superuser),
            ("POST", f"{MOUNT}/roles/vk-{ground.installation}-x", superuser),
        ],
        "reader": [
            ("POST", role, superuser),
            ("GET", role, None),
            ("DELETE", role, None),
            ("GET", f"{MOUNT}/static-creds/orders-inspector", None),
            ("PUT", "sys/leases/renew", {"lease_id": ours.back_ref, "increment": 86400}),
        ],
        "ender": [
            ("GET", creds, None),
            ("POST", role, superuser),
            ("POST", f"{MOUNT}/roles/end-vk-x", superuser),
            ("PUT", "sys/leases/revoke-force/database-orders", {}),
            ("PUT", "sys/leases/revoke-prefix/database-orders", {}),
            ("PUT", "sys/leases/revoke-prefix/database-orders/creds", {}),
            ("POST", "sys/policies/acl/valetkey-writer-orders-db", {"policy": ""}),
            ("GET", f"{MOUNT}/static-creds/orders-inspector", None),
        ],
        "inspector": [
            ("GET", creds, None),
            ("POST", role, superuser),
            ("DELETE", role, None),
            ("POST", f"{MOUNT}/rotate-role/orders-inspector", None),
        ],
    }
    for_all: list[tuple[str, str, dict[str, object] | None]] = [
        ("GET", f"{MOUNT}/config/orders-0", None),
        ("POST", f"{MOUNT}/config/orders-0", {"allowed_roles": "*"}),
        ("POST", f"{MOUNT}/rotate-root/orders-0", None),
        ("GET", "sys/mounts", None),
        ("POST", "auth/token/create", {"policies": ["root"]}),
        ("POST", "auth/token/create-orphan", {}),
        ("POST", "auth/jwt/role/valetkey-writer", {"token_ttl": "1h"}),
        ("GET", "sys/raw/core", None),
    ]
    done = [
        (who, method, path)
        for who, more in beyond.items()
        for method, path, body in [*more, *for_all]
        if not refused(who, method, path, body)
    ]
    assert done == []
    assert lease_of(house, ours.id).state is LeaseState.ACTIVE


def test_a_claim_of_another_installation_cannot_be_taken_over(refused: Send) -> None:
    """What is claimed is written once, even by the login that claims."""
    for path in ("valetkey/data/claims/orders-db", "valetkey/metadata/claims/orders-db"):
        assert refused("ender", "POST", path, {"data": {"installation": "thiefe1"}})
        assert refused("ender", "DELETE", path, None)
