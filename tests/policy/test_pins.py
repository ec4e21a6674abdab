"""Pins at a real OpenBao: the writer's token makes catalogued roles and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.policy.outside import INSTALLATION, MOUNT, Outside, mark
from valetkey.core.catalogue import Catalogue
from valetkey.core.statements import DatabaseRole, expansions
from valetkey.devstack.bao_api import Bao, BaoRefused
from valetkey.minters.pins import (
    expected_policies,
    openbao_policy,
    pins_match,
    role_body,
    stray_policies,
    unpinned,
)

Body = dict[str, Any]


@pytest.fixture(scope="session")
def roles(catalogue: Catalogue) -> list[DatabaseRole]:
    """Every role of the sample's database target."""
    return [role for _, role in expansions(catalogue.targets["orders-db"])]


@pytest.fixture
def writer(outside: Outside, catalogue: Catalogue) -> Bao:
    """A token that holds the sample's pins and nothing else."""
    return outside.writer(openbao_policy(catalogue, ["orders-db"], INSTALLATION))


def refused(act: Callable[[], object]) -> bool:
    """Whether OpenBao's policy refuses (403)."""
    try:
        act()
    except BaoRefused as error:
        return error.status == 403
    return False


def test_every_catalogued_role_can_be_written(writer: Bao, roles: list[DatabaseRole]) -> None:
    """The body that the minter sends is the body that is pinned."""
    for role in roles:
        writer.write(f"{MOUNT}/roles/{mark(role.digest)}", **role_body(role, timedelta(seconds=90)))


CHANGES: dict[str, Callable[[Body], Body]] = {
    "superuser": lambda b: b | {"creation_statements": 'CREATE ROLE "{{name}}" SUPERUSER LOGIN'},
    "superuser after": lambda b: (
        b | {"creation_statements": b["creation_statements"] + '; ALTER ROLE "{{name}}" SUPERUSER'}
    ),
    "list": lambda b: b | {"creation_statements": [b["creation_statements"]]},
    "two": lambda b: b | {"creation_statements": [b["creation_statements"], "SELECT 1"]},
    "no revocation": lambda b: {k: v for k, v in b.items() if k != "revocation_statements"},
    "empty revocation": lambda b: b | {"revocation_statements": ""},
    "empty revocation list": lambda b: b | {"revocation_statements": []},
    "other database": lambda b: b | {"db_name": "payments"},
    "other lane": lambda b: b | {"db_name": "orders-3"},
    "inspector's connection": lambda b: b | {"db_name": "orders-inspect"},
    "long": lambda b: b | {"max_ttl": "86400s"},
    "long as number": lambda b: b | {"max_ttl": 86400},
    "endless": lambda b: b | {"max_ttl": "0s"},
    "no max_ttl": lambda b: {k: v for k, v in b.items() if k != "max_ttl"},
    "renew": lambda b: b | {"renew_statements": "SELECT 1"},
    "rollback": lambda b: b | {"rollback_statements": "SELECT 1"},
    "kind": lambda b: b | {"credential_type": "rsa_private_key"},
    "case": lambda b: {k.upper(): v for k, v in b.items()},
}


@pytest.mark.parametrize("change", CHANGES)
def test_anything_but_the_pinned_body_is_refused(
    writer: Bao, roles: list[DatabaseRole], change: str
) -> None:
    """Superuser, no ending, another database, a long life, another kind of credential."""
    body = CHANGES[change](role_body(roles[0], timedelta(seconds=90)))
    path = f"{MOUNT}/roles/{mark(roles[0].digest)}"
    assert refused(lambda: writer.call("POST", path, body))
    assert refused(lambda: writer.call("PUT", path, body))


def test_a_live_role_cannot_be_rewritten(writer: Bao, roles: list[DatabaseRole]) -> None:
    """Neither with another scope's body nor with its own."""
    read, write = roles[0], roles[8]
    path = f"{MOUNT}/roles/{mark(read.digest)}"
    body = role_body(read, timedelta(seconds=90))
    writer.write(path, **body)
    assert refused(lambda: writer.write(path, **role_body(write, timedelta(seconds=90))))
    assert refused(lambda: writer.write(path, **body))
    with pytest.raises(BaoRefused):
        writer.call("PATCH", path, body)


def test_a_role_under_another_scopes_mark_is_refused(
    writer: Bao, roles: list[DatabaseRole]
) -> None:
    """The digest in the name and the body must belong together; so must the installation."""
    body = role_body(roles[8], timedelta(seconds=90))
    assert refused(lambda: writer.write(f"{MOUNT}/roles/{mark(roles[0].digest)}", **body))
    other = mark(roles[8].digest, "abcdefe2")
    assert refused(lambda: writer.write(f"{MOUNT}/roles/{other}", **body))
    assert refused(lambda: writer.write(f"{MOUNT}/roles/any-name", **body))


def test_the_writer_can_do_nothing_else(writer: Bao, roles: list[DatabaseRole]) -> None:
    """No delete, no read, no credential, no connection, no policy."""
    name = mark(roles[0].digest)
    writer.write(f"{MOUNT}/roles/{name}", **role_body(roles[0], timedelta(seconds=90)))
    assert refused(lambda: writer.delete(f"{MOUNT}/roles/{name}"))
    assert refused(lambda: writer.read(f"{MOUNT}/roles/{name}"))
    assert refused(lambda: writer.read(f"{MOUNT}/creds/{name}"))
    assert refused(lambda: writer.read(f"{MOUNT}/config/orders-0"))
    assert refused(lambda: writer.write("sys/policies/acl/mine", policy=""))


def test_the_engine_cuts_a_long_default_to_the_pinned_maximum(
    outside: Outside, writer: Bao, roles: list[DatabaseRole]
) -> None:
    """The default varies with each ask and is free; it cannot outlive the scope's maximum."""
    name = mark(roles[0].digest)
    body = role_body(roles[0], timedelta(seconds=90)) | {"default_ttl": "86400s"}
    writer.write(f"{MOUNT}/roles/{name}", **body)
    credential = outside.read(name)
    with outside.superuser() as connection:
        row = connection.execute(
            "SELECT rolvaliduntil - clock_timestamp() FROM pg_roles WHERE rolname = %s", [name]
        ).fetchone()
    assert credential.seconds <= 900
    assert row is not None
    assert row[0] < timedelta(seconds=930)


def test_a_ttl_outside_the_scopes_is_never_sent(roles: list[DatabaseRole]) -> None:
    """Zero, negative and longer than the scope are our own mistake, caught before the wire."""
    for ttl in (timedelta(0), timedelta(seconds=-1), timedelta(minutes=16)):
        with pytest.raises(ValueError, match="TTL"):
            role_body(roles[0], ttl)


def test_pins_are_seen_exactly_as_written(outside: Outside, catalogue: Catalogue) -> None:
    """OpenBao gives the text back; one changed byte or a missing policy is told."""
    expected = expected_policies(catalogue, INSTALLATION)
    assert list(expected) == ["valetkey-writer-orders-db"]

    def read(name: str) -> str | None:
        try:
            text: str = outside.root.read(f"sys/policies/acl/seen-{name}")["data"]["policy"]
        except BaoRefused:
            return None
        return text

    assert unpinned(catalogue, INSTALLATION, read) == ("orders-db",)
    for name, text in expected.items():
        outside.root.write(f"sys/policies/acl/seen-{name}", policy=text)
        assert unpinned(catalogue, INSTALLATION, read) == ()
        wider = text.replace('["create"]', '["create", "update"]', 1)
        outside.root.write(f"sys/policies/acl/seen-{name}", policy=wider)
        assert unpinned(catalogue, INSTALLATION, read) == ("orders-db",)
        outside.root.delete(f"sys/policies/acl/seen-{name}")


def test_pins_of_another_installation_do_not_match(catalogue: Catalogue) -> None:
    """A restored copy with a new epoch needs pins of its own."""
    (mine,) = expected_policies(catalogue, INSTALLATION).values()
    (other,) = expected_policies(catalogue, "abcdefe2").values()
    assert not pins_match(mine, other)
    assert not pins_match(mine, None)
    assert pins_match(mine, mine + "\n")


def test_a_writer_with_more_than_its_pins_is_told(catalogue: Catalogue) -> None:
    """Any further policy on the token widens what it may do."""
    assert stray_policies(catalogue, ["valetkey-writer-orders-db"]) == ()
    held = ["valetkey-writer-orders-db", "default", "valetkey-writer-old"]
    assert stray_policies(catalogue, held) == ("default", "valetkey-writer-old")
