"""Which database statements the catalogue may hold: a closed form, all else refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from valetkey.core.catalogue import Parameter, ScopeDefinition, Target
from valetkey.core.statement_checks import statement_problems
from valetkey.core.statements import REVOCATION

CREATE = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' "
    'CONNECTION LIMIT 4 ROLE "valetkey_manager"'
)
GRANT = 'GRANT "orders_${region}_reader" TO "{{name}}" WITH INHERIT TRUE, SET FALSE'
READ = ScopeDefinition(
    "read",
    False,
    timedelta(minutes=15),
    (Parameter("region", "enum", ("eu", "us")),),
    (CREATE, GRANT),
)
ORDERS = Target("orders-db", "openbao-database", "production", "o", connections=("orders-0",))


def problems_of(*creation: str, target: Target = ORDERS) -> list[str]:
    """What is wrong with these creation statements."""
    return statement_problems(replace(READ, creation_statements=creation), target)


def test_the_designed_form_is_accepted() -> None:
    """One CREATE ROLE, one GRANT of a group role."""
    assert problems_of(CREATE, GRANT) == []


@pytest.mark.parametrize(
    "missing",
    [
        "LOGIN ",
        "PASSWORD '{{password}}' ",
        "VALID UNTIL '{{expiration}}' ",
        "CONNECTION LIMIT 4 ",
        ' ROLE "valetkey_manager"',
    ],
)
def test_each_demanded_option_must_be_there(missing: str) -> None:
    """Without any one of them the role could not be bounded or ended."""
    assert any("lacks" in text for text in problems_of(CREATE.replace(missing, ""), GRANT))


@pytest.mark.parametrize(
    "power", ["SUPERUSER", "CREATEROLE", "CREATEDB", "BYPASSRLS", "REPLICATION", "superuser"]
)
def test_no_power_is_given(power: str) -> None:
    """Attributes that reach beyond the group role are refused by name."""
    assert any(power.upper() in text for text in problems_of(f"{CREATE} {power}", GRANT))


@pytest.mark.parametrize(
    "statement",
    [
        'GRANT SELECT ON orders TO "{{name}}"',
        'GRANT "orders_eu_reader" TO "{{name}}"',
        'GRANT "orders_eu_reader" TO "{{name}}" WITH INHERIT TRUE',
        'GRANT "orders_eu_reader" TO "{{name}}" WITH INHERIT TRUE, SET TRUE',
        'GRANT "orders_eu_reader" TO "{{name}}" WITH ADMIN OPTION',
        'GRANT "orders_eu_reader" TO "somebody" WITH INHERIT TRUE, SET FALSE',
        'GRANT "orders_eu_reader" TO PUBLIC',
        'ALTER ROLE "{{name}}" SET search_path = x',
        "DROP TABLE orders",
        f"{GRANT}; DROP TABLE orders",
        'CREATE ROLE "other" LOGIN',
        "DO $$ BEGIN END $$",
        'COPY orders TO PROGRAM "x"',
        "",
    ],
)
def test_other_statements_are_refused(statement: str) -> None:
    """Only the one GRANT of group membership may follow."""
    assert problems_of(CREATE, GRANT, statement) != []


@pytest.mark.parametrize("comment", ["-- x", "/* x */"])
def test_comments_are_refused(comment: str) -> None:
    """A comment can hide the rest of a line from a reader or from the engine."""
    assert problems_of(f"{CREATE} {comment}", GRANT) != []


def test_the_membership_form_follows_the_server_version() -> None:
    """GRANT with SET FALSE from 16 on, IN ROLE before; each is refused on the other."""
    in_role = CREATE + ' IN ROLE "orders_${region}_reader"'
    old = replace(ORDERS, server_version=15)
    assert problems_of(in_role, target=old) == []
    assert any("15" in text for text in problems_of(CREATE, GRANT, target=old))
    assert any("16" in text for text in problems_of(in_role))
    assert problems_of(CREATE) != []


@pytest.mark.parametrize("group", ["pg_execute_server_program", "pg_read_all_data"])
def test_predefined_roles_are_no_groups(group: str) -> None:
    """They reach past the database's own rights."""
    assert problems_of(CREATE, GRANT.replace("orders_${region}_reader", group)) != []


def test_a_parameter_cannot_make_a_predefined_role() -> None:
    """What is rendered is looked at too, not only the template."""
    tricky = replace(
        READ,
        parameters=(Parameter("region", "enum", ("pg", "eu")),),
        creation_statements=(CREATE, GRANT.replace("orders_${region}_reader", "${region}_monitor")),
    )
    assert any("pg_" in text for text in statement_problems(tricky, ORDERS))


def test_the_manager_is_no_group() -> None:
    """Its membership would give the right to end, and so to use, every other role."""
    assert problems_of(CREATE, GRANT.replace("orders_${region}_reader", "valetkey_manager")) != []


def test_an_identifier_must_fit() -> None:
    """PostgreSQL would cut it silently, perhaps to another role's name."""
    assert problems_of(CREATE, GRANT.replace("orders_", "o" * 60)) != []


def test_other_kinds_of_parameter_are_refused() -> None:
    """Only enums can be pinned."""
    loose = replace(READ, parameters=(Parameter("region", "identifier"),))
    assert any("enum" in text for text in statement_problems(loose, ORDERS))


def test_a_flood_of_values_is_refused_before_it_is_expanded() -> None:
    """The number of pinned paths is bounded."""
    many = tuple(Parameter(f"p{n}", "enum", tuple(map(str, range(60)))) for n in range(8))
    assert statement_problems(replace(READ, parameters=many), ORDERS) != []


def test_the_default_ending_passes_its_own_check() -> None:
    """With and without an heir."""
    by_hand = replace(READ, revocation_statements=REVOCATION)
    assert statement_problems(by_hand, ORDERS) == []


@pytest.mark.parametrize("left_out", range(len(REVOCATION)))
def test_an_ending_by_hand_must_have_every_step(left_out: int) -> None:
    """Leaving out a demanded step is refused; the second cut alone may be left out."""
    texts = tuple(text for at, text in enumerate(REVOCATION) if at != left_out)
    found = statement_problems(replace(READ, revocation_statements=texts), ORDERS)
    assert (found == []) == (left_out == 5)


def test_an_ending_by_hand_must_keep_the_order() -> None:
    """Dropping before cutting sessions would leave them alive."""
    backwards = tuple(reversed(REVOCATION))
    assert statement_problems(replace(READ, revocation_statements=backwards), ORDERS) != []


@pytest.mark.parametrize(
    "extra", ['GRANT "x" TO "y"', 'ALTER ROLE "{{name}}" LOGIN', "COPY t TO PROGRAM 'x'"]
)
def test_an_ending_by_hand_gives_nothing(extra: str) -> None:
    """An ending is no place to hand out rights."""
    texts = (*REVOCATION, extra)
    assert statement_problems(replace(READ, revocation_statements=texts), ORDERS) != []


def test_an_ending_by_hand_reassigns_to_the_named_heir() -> None:
    """When the scope names who inherits, the statements must do it."""
    by_hand = replace(READ, revocation_statements=REVOCATION, reassign_owned_to="orders_owner")
    assert any("REASSIGN" in text for text in statement_problems(by_hand, ORDERS))
