"""Targets on one PostgreSQL server: whose role is it that each of them shows?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from valetkey.core.catalogue import ScopeDefinition, Target
from valetkey.core.ids import LeaseId, Mark
from valetkey.core.statements import expansions
from valetkey.minters.neighbours import Neighbours

SCOPE = ScopeDefinition(
    "read", False, timedelta(minutes=5), creation_statements=('CREATE ROLE "{{name}}" LOGIN',)
)
ORDERS = Target(
    "orders-db", "openbao-database", "production", "o", mount="database-orders",
    connections=("orders-0",), address={"host": "db", "port": 5432}, scopes={"read": SCOPE},
)  # fmt: skip
LEDGER = replace(ORDERS, name="ledger-db", mount="database-ledger")
ELSEWHERE = replace(ORDERS, name="far-db", address={"host": "far", "port": 5432})
LEASE = LeaseId("lease_" + "0" * 26)


def role_of(target: Target) -> str:
    """The name of a role that this target's minter makes."""
    ((_, role),) = expansions(target)
    return str(Mark.of("abcdghe1", role.digest, LEASE))


@pytest.mark.parametrize(("here", "ours"), [(ORDERS, True), (LEDGER, False)])
def test_the_scope_digest_of_a_mark_says_whose_it_is(here: Target, ours: bool) -> None:
    """The same statements at two targets give two digests."""
    neighbours = Neighbours([ORDERS, LEDGER], lambda target: set())
    assert neighbours.belongs(role_of(ORDERS), here) is ours
    assert neighbours.belongs(role_of(LEDGER), here) is not ours


def test_a_role_of_no_catalogued_scope_is_whose_openbao_lists_it() -> None:
    """A scope that left the catalogue left its roles behind; any name that is no mark is alike."""
    listed = {"ledger-db": {role_of(ELSEWHERE), "vk-abcdghe1-x"}}
    neighbours = Neighbours([ORDERS, LEDGER], lambda target: listed.get(target.name, set()))
    for name in (role_of(ELSEWHERE), "vk-abcdghe1-x"):
        assert not neighbours.belongs(name, ORDERS)
    assert neighbours.belongs("vk-abcdghe1-y", ORDERS), "somebody must answer for it"


def test_alone_on_its_server_everything_there_is_its_own() -> None:
    """And nothing is asked about targets elsewhere."""

    def refuse(target: Target) -> set[str]:
        raise AssertionError

    assert Neighbours([ORDERS, ELSEWHERE], refuse).belongs(role_of(ELSEWHERE), ORDERS)
