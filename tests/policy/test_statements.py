"""Rendering: what a catalogued scope becomes, and that parameters stay inside identifiers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.core.catalogue import Catalogue, Parameter, ScopeDefinition, Target
from valetkey.core.scope import Scope
from valetkey.core.statements import database_role, expansions, lane, quoted, render

ORDERS_READ_EU = Scope("orders-db", "read", (("region", "eu"),))


def test_a_scope_renders_to_one_creation_and_one_revocation_text(catalogue: Catalogue) -> None:
    """Each pinned list holds exactly one value, so each is one text."""
    role = database_role(catalogue.find(ORDERS_READ_EU), "orders-1")
    assert len(role.creation) == len(role.revocation) == 1
    assert 'GRANT "orders_eu_reader" TO "{{name}}"' in role.creation[0]
    assert "${" not in role.creation[0] + role.revocation[0]
    assert role.max_ttl == timedelta(minutes=15)


def test_every_value_and_lane_has_a_digest_of_its_own(catalogue: Catalogue) -> None:
    """Two scopes with two regions on four lanes are sixteen roles."""
    found = [role.digest for _, role in expansions(catalogue.targets["orders-db"])]
    assert len(set(found)) == len(found) == 16


def test_the_digest_changes_with_everything_that_is_pinned(catalogue: Catalogue) -> None:
    """A longer TTL, another statement or another heir is another role."""
    wanted = catalogue.find(ORDERS_READ_EU)
    before = database_role(wanted, "orders-0").digest
    for change in (
        {"max_ttl": timedelta(minutes=16)},
        {"creation_statements": wanted.definition.creation_statements[:1]},
        {"reassign_owned_to": "orders_owner"},
    ):
        other = replace(wanted, definition=replace(wanted.definition, **change))
        assert database_role(other, "orders-0").digest != before


def test_a_role_for_a_foreign_connection_is_refused(catalogue: Catalogue) -> None:
    """Only the target's own connections may be named."""
    with pytest.raises(ValueError, match="not a connection"):
        database_role(catalogue.find(ORDERS_READ_EU), "payments-0")


def test_a_lease_keeps_its_lane_and_leases_spread(catalogue: Catalogue) -> None:
    """The lane is a function of the lease id, and all lanes are used."""
    target = catalogue.targets["orders-db"]
    lanes = [lane(target, f"lease_{number}") for number in range(200)]
    assert lanes == [lane(target, f"lease_{number}") for number in range(200)]
    assert set(lanes) == set(target.connections)


def test_a_target_without_connections_has_no_lane() -> None:
    """There is nothing to hash to."""
    with pytest.raises(ValueError, match="no connections"):
        lane(Target("t", "openbao-database", "e", "o"), "lease_1")


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT ${region} TO x",
        "GRANT '${region}' TO x",
        """GRANT '"${region}"' TO x""",
        "${region}",
        '"a" ${region} "b"',
    ],
)
def test_a_parameter_outside_an_identifier_is_refused(statement: str) -> None:
    """Bare, and inside single quotes even if those hold double quotes."""
    with pytest.raises(ValueError, match="double-quoted"):
        render(statement, {"region": "eu"})


def test_a_parameter_that_is_not_given_is_refused() -> None:
    """A statement cannot name what the scope does not have."""
    with pytest.raises(ValueError, match="does not have"):
        render('GRANT "${other}"', {"region": "eu"})


@given(value=st.text(st.characters(codec="ascii"), min_size=1, max_size=40))
def test_a_value_never_leaves_its_identifier(value: str) -> None:
    """Whatever the value, the text around its quoted form is what the catalogue wrote."""
    rendered = render('GRANT "${v}" TO "{{name}}"', {"v": value})
    assert rendered == f'GRANT {quoted(value)} TO "{{{{name}}}}"'
    assert rendered.count('"') % 2 == 0


def test_only_enumerated_parameters_can_be_expanded() -> None:
    """What cannot be listed cannot be pinned."""
    definition = ScopeDefinition(
        "read", False, timedelta(minutes=1), (Parameter("table", "identifier"),)
    )
    target = Target("t", "m", "e", "o", connections=("c",), scopes={"read": definition})
    with pytest.raises(ValueError, match="enumerated"):
        list(expansions(target))


_keys = st.sampled_from(["region", "path", "kind"])
_values = st.sampled_from(["eu", "us", "a/", "a/b", "a/b/", "a/c"])
_scopes = st.builds(
    lambda name, pairs: Scope("t", name, tuple(sorted(pairs.items()))),
    st.sampled_from(["read", "write"]),
    st.dictionaries(_keys, _values),
)


@given(a=_scopes, b=_scopes, c=_scopes)
def test_no_wider_than_is_a_partial_order(a: Scope, b: Scope, c: Scope) -> None:
    """Reflexive, antisymmetric, transitive."""
    assert a <= a
    assert not (a <= b and b <= a) or a == b
    assert not (a <= b and b <= c) or a <= c
