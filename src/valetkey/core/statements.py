"""Database statements: from a catalogued scope to the exact role that OpenBao may be told to make.

Everything here is text in, text out. The same functions give the minter its request body and the
administrator the pins, so that both sides agree to the byte; `DatabaseRole.digest` names the
result inside the role's mark. `core.statement_checks` says which statements a catalogue may hold.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from valetkey.core.catalogue import CataloguedScope, ScopeDefinition, Target
from valetkey.core.ids import short_digest
from valetkey.core.scope import Scope

_PLACE = re.compile(r"\$\{([a-z][a-z0-9_]{0,30})\}")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")

_IF_ROLE = "IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN"
_CUT_SESSIONS = (
    "PERFORM pg_catalog.pg_terminate_backend(pid, 2000) FROM pg_catalog.pg_stat_get_activity(NULL) "
    "WHERE usesysid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = '{{name}}');"
)

REVOCATION: tuple[str, ...] = (
    f'DO $vk$ BEGIN {_IF_ROLE} ALTER ROLE "{{{{name}}}}" NOLOGIN; END IF; END $vk$',
    "COMMIT",
    "BEGIN",
    f"DO $vk$ BEGIN {_CUT_SESSIONS} END $vk$",
    f'DO $vk$ BEGIN {_IF_ROLE} DROP OWNED BY "{{{{name}}}}"; END IF; END $vk$',
    # A login that was half way in at NOLOGIN shows itself only now; the view is read afresh.
    f"DO $vk$ BEGIN PERFORM pg_catalog.pg_stat_clear_snapshot(); {_CUT_SESSIONS} END $vk$",
    'DROP ROLE IF EXISTS "{{name}}"',
)
"""How a role is ended, in this order; each step does nothing when the role is already gone.

NOLOGIN is committed before sessions are cut: in one transaction a client that reconnects in a
loop would survive its own revocation. OpenBao runs the joined text as it stands, unsplit, because
it holds the word END between spaces; `COMMIT` therefore ends the engine's own transaction.
`pg_stat_get_activity(NULL)` is what the view pg_stat_activity is made of, at a third of its cost.
"""

FORGOTTEN_PREFIX = "end-"
_LOST = f"DECLARE lost name := substr('{{{{name}}}}', {len(FORGOTTEN_PREFIX) + 1}); BEGIN"
_IF_LOST = "IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = lost) THEN EXECUTE format"
_CUT_LOST = _CUT_SESSIONS.replace("'{{name}}'", "lost")

FORGOTTEN: tuple[str, ...] = (
    f"DO $vk$ {_LOST} {_IF_LOST}('ALTER ROLE %I NOLOGIN', lost); END IF; END $vk$",
    "COMMIT",
    "BEGIN",
    f"DO $vk$ {_LOST} {_CUT_LOST} END $vk$",
    f"DO $vk$ {_LOST} PERFORM pg_catalog.pg_stat_clear_snapshot(); {_CUT_LOST} END $vk$",
    f"DO $vk$ {_LOST} {_IF_LOST}('DROP ROLE %I', lost); END IF; END $vk$",
)
"""How a role is ended that OpenBao has no lease for, because it died while it made it.

These stand where creation statements do: reading a credential of a role named `end-<mark>` makes
nothing and drops `<mark>`. Whatever that role owns stays, and with it the role, for a human.
"""


@dataclass(frozen=True)
class DatabaseRole:
    """One role as OpenBao must be told to make it: on one connection, with these statements.

    `creation` and `revocation` hold exactly one text each, so that a pin can name it whole.
    `max_ttl` bounds a whole life with its renewals; `digest` (12 characters) is the scope digest
    in the role's mark.
    """

    db_name: str
    creation: tuple[str, ...]
    revocation: tuple[str, ...]
    max_ttl: timedelta
    digest: str


def database_role(wanted: CataloguedScope, db_name: str) -> DatabaseRole:
    """Render one catalogued scope for one connection of its target.

    Raises ValueError when a statement names a parameter that the scope does not give, or names
    one outside a double-quoted identifier, or when `db_name` is not one of the target's.
    """
    target, definition = wanted.target, wanted.definition
    if db_name not in target.connections:
        raise ValueError("not a connection of this target")
    values = dict(wanted.scope.parameters)
    creation = _joined(render(text, values) for text in definition.creation_statements)
    revocation = _joined(render(text, values) for text in ending_statements(definition))
    named = {
        "target": target.name,
        "scope": str(wanted.scope),
        "db_name": db_name,
        "creation": creation,
        "revocation": revocation,
        "max_ttl": int(definition.longest.total_seconds()),
    }
    digest = short_digest(json.dumps(named, sort_keys=True, separators=(",", ":")))
    return DatabaseRole(db_name, (creation,), (revocation,), definition.longest, digest)


def ending_statements(definition: ScopeDefinition) -> tuple[str, ...]:
    """The scope's own revocation statements, or REVOCATION, with REASSIGN OWNED where named."""
    if definition.revocation_statements:
        return definition.revocation_statements
    heir = definition.reassign_owned_to
    if heir is None:
        return REVOCATION
    step = f'{_IF_ROLE} REASSIGN OWNED BY "{{{{name}}}}" TO {quoted(heir)}; END IF;'
    return (*REVOCATION[:4], f"DO $vk$ BEGIN {step} END $vk$", *REVOCATION[4:])


def forgotten_body(db_name: str) -> dict[str, str]:
    """The body of `POST <mount>/roles/end-<mark>`, whose reading drops a forgotten role."""
    return {
        "db_name": db_name,
        "creation_statements": _joined(iter(FORGOTTEN)),
        "revocation_statements": "SELECT 1",
        "default_ttl": "60s",
        "max_ttl": "60s",
    }


def render(statement: str, values: dict[str, str]) -> str:
    """Put parameters into a statement, only inside double-quoted identifiers, quotes doubled.

    Raises ValueError for a parameter outside an identifier or one that is not given.
    """
    pieces: list[str] = []
    at = 0
    for found in _identifiers(statement):
        pieces.append(_no_place(statement[at : found.start()]))
        pieces.append(_PLACE.sub(lambda place: _given(values, place[1]), found[0]))
        at = found.end()
    pieces.append(_no_place(statement[at:]))
    return "".join(pieces)


def quoted(name: str) -> str:
    """A PostgreSQL identifier in double quotes (PostgreSQL manual, 4.1.1)."""
    return '"' + name.replace('"', '""') + '"'


def lane(target: Target, lease_id: str) -> str:
    """The connection that serves a lease: SHA-256 of its id, modulo the number of lanes.

    Raises ValueError when the target has none.
    """
    if not target.connections:
        raise ValueError("the target has no connections")
    number = int(hashlib.sha256(lease_id.encode()).hexdigest(), 16)
    return target.connections[number % len(target.connections)]


def expansions(target: Target) -> Iterator[tuple[Scope, DatabaseRole]]:
    """Every scope of a database target with every enumerated value, on every connection.

    Order is that of the catalogue. Raises ValueError for a parameter that is not an enum.
    """
    for definition in target.scopes.values():
        for scope in _scopes(target, definition):
            wanted = CataloguedScope(scope, target, definition, "")
            for db_name in target.connections:
                yield scope, database_role(wanted, db_name)


def _scopes(target: Target, definition: ScopeDefinition) -> Iterator[Scope]:
    if any(parameter.kind != "enum" for parameter in definition.parameters):
        raise ValueError("a database scope has only enumerated parameters")
    choices = [[(p.name, value) for value in p.values] for p in definition.parameters]
    for pairs in itertools.product(*choices):
        yield Scope(target.name, definition.name, tuple(sorted(pairs)))


def _identifiers(statement: str) -> Iterator[re.Match[str]]:
    """Double-quoted identifiers, leaving out what only looks so inside a single-quoted text."""
    return (found for found in _QUOTED.finditer(statement) if found[0].startswith('"'))


def _no_place(text: str) -> str:
    if "${" in text:
        raise ValueError("a parameter may stand only inside a double-quoted identifier")
    return text


def _given(values: dict[str, str], name: str) -> str:
    if name not in values:
        raise ValueError("a statement names a parameter that the scope does not have")
    return values[name].replace('"', '""')


def _joined(statements: Iterator[str]) -> str:
    return "; ".join(statement.strip().rstrip(";").rstrip() for statement in statements)
