"""Which creation and revocation statements a database scope of the catalogue may hold.

The form is closed: one `CREATE ROLE` with named options, then group membership and nothing else
(design section 4, "Database scopes"). What is not recognised is refused, so that a statement
which nobody thought of is no way around.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from valetkey.core.catalogue import ScopeDefinition, Target
from valetkey.core.statements import expansions

FIRST_WITH_SET_OPTION = 16
"""PostgreSQL 16 brought `GRANT … WITH INHERIT …, SET …` (manual, GRANT, "role membership")."""
OLDEST_SERVER = 14
"""PostgreSQL 14 brought the waiting form of pg_terminate_backend, which ending relies on."""
MOST_EXPANSIONS = 256
"""Expanded scopes times connections of one target: each is a path in OpenBao's policy."""
LONGEST_IDENTIFIER = 63
"""Bytes of a PostgreSQL identifier (NAMEDATALEN - 1); what is longer is cut silently."""

_GROUP = r'"[A-Za-z_$][A-Za-z0-9_.${}-]*"'
_GROUPS = rf"{_GROUP}(?: ?, ?{_GROUP})*"
_CREATE = re.compile(r'CREATE ROLE "\{\{name\}\}"(?: WITH)?(?P<options>(?: .+)?)', re.I)
_GRANT = re.compile(
    rf'GRANT (?P<groups>{_GROUPS}) TO "\{{\{{name\}}\}}" WITH INHERIT TRUE ?, ?SET FALSE', re.I
)
_OPTIONS: dict[str, re.Pattern[str]] = {
    "LOGIN": re.compile(r"LOGIN\b", re.I),
    "PASSWORD '{{password}}'": re.compile(r"(?:ENCRYPTED )?PASSWORD '\{\{password\}\}'", re.I),
    "VALID UNTIL '{{expiration}}'": re.compile(r"VALID UNTIL '\{\{expiration\}\}'", re.I),
    "CONNECTION LIMIT n": re.compile(r"CONNECTION LIMIT [1-9][0-9]{0,2}\b", re.I),
    'ROLE "<manager>"': re.compile(r'ROLE (?P<manager>"[A-Za-z_][A-Za-z0-9_-]*")(?! ?,)', re.I),
    "IN ROLE": re.compile(rf"IN ROLE (?P<groups>{_GROUPS})", re.I),
    "INHERIT": re.compile(r"INHERIT\b", re.I),
    "NOSUPERUSER": re.compile(r"NOSUPERUSER\b", re.I),
    "NOCREATEDB": re.compile(r"NOCREATEDB\b", re.I),
    "NOCREATEROLE": re.compile(r"NOCREATEROLE\b", re.I),
    "NOREPLICATION": re.compile(r"NOREPLICATION\b", re.I),
    "NOBYPASSRLS": re.compile(r"NOBYPASSRLS\b", re.I),
}
_DEMANDED = tuple(_OPTIONS)[:5]
_POWERS = re.compile(r"(?<![A-Z])(SUPERUSER|CREATEROLE|CREATEDB|BYPASSRLS|REPLICATION)\b", re.I)
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_COMMENT = re.compile(r"--|/\*|\*/")
_PLAIN = re.compile(r"[\x20-\x7e\n\t]*")
_ENDING_NEVER = re.compile(
    r"\b(CREATE|GRANT|COPY|SUPERUSER|CREATEROLE|CREATEDB|BYPASSRLS|REPLICATION|LOGIN|PASSWORD"
    r"|SET|ROLLBACK|SAVEPOINT|EXECUTE|DELETE|INSERT|UPDATE|TRUNCATE)\b",
    re.I,
)


def statement_problems(definition: ScopeDefinition, target: Target) -> list[str]:
    """What is wrong with a database scope, one sentence each; empty when it may be used."""
    problems = list(_shape_problems(definition, target))
    problems += _creation_problems(definition, target)
    if definition.revocation_statements:
        problems += _ending_problems(definition)
    return problems or list(_rendered_problems(definition, target))


def breadth(definition: ScopeDefinition) -> int:
    """How many expanded scopes a definition has: the product of its enums."""
    return math.prod(max(1, len(parameter.values)) for parameter in definition.parameters)


def _shape_problems(definition: ScopeDefinition, target: Target) -> Iterator[str]:
    if target.server_version < OLDEST_SERVER:
        yield f"PostgreSQL {OLDEST_SERVER} is the oldest server a role can be ended on safely"
    for parameter in definition.parameters:
        if parameter.kind != "enum":
            yield f"parameter {parameter.name} must be an enum: only those can be pinned"
    if breadth(definition) * len(target.connections) > MOST_EXPANSIONS:
        yield f"its creation_statements would expand to more than {MOST_EXPANSIONS} roles"
    for text in (*definition.creation_statements, *definition.revocation_statements):
        if _COMMENT.search(text):
            yield "a statement holds no comment marks"
        if not _PLAIN.fullmatch(text):
            yield "a statement is written in printable ASCII"
        if text.strip().startswith("*") or text.strip().endswith("*"):
            yield "a statement neither begins nor ends with *, which OpenBao would read as a glob"


def _creation_problems(definition: ScopeDefinition, target: Target) -> list[str]:
    texts = [_flat(text) for text in definition.creation_statements]
    if not texts:
        return ["creation_statements are missing"]
    created = _CREATE.fullmatch(texts[0])
    if created is None:
        return ['the first creation statement must be CREATE ROLE "{{name}}" with its options']
    seen, problems = _read_options(created["options"].strip())
    problems += [f"CREATE ROLE lacks {name}" for name in _DEMANDED if name not in seen]
    manager = _manager(seen)
    groups = _listed(_OPTIONS["IN ROLE"], seen.get("IN ROLE", ""))
    for text in texts[1:]:
        granted = _GRANT.fullmatch(text)
        if granted is None:
            problems.append(_refusal(text))
        groups += _listed(_GRANT, text) if granted else []
    problems += _membership_problems(target, "IN ROLE" in seen, len(texts) > 1)
    if manager in groups:
        problems.append("the manager is no group role")
    return problems


def _read_options(text: str) -> tuple[dict[str, str], list[str]]:
    """Walk the options of CREATE ROLE; each is known and given once, or is a problem."""
    seen: dict[str, str] = {}
    while text:
        name, found = _next_option(text)
        if found is None:
            return seen, [_refusal(text)]
        if name in seen:
            return seen, [f"CREATE ROLE gives {name} twice"]
        seen[name] = found[0]
        text = text[found.end() :].lstrip()
    return seen, []


def _next_option(text: str) -> tuple[str, re.Match[str] | None]:
    for name, pattern in _OPTIONS.items():
        found = pattern.match(text)
        if found is not None and text[found.end() : found.end() + 1] in {"", " "}:
            return name, found
    return "", None


def _refusal(text: str) -> str:
    power = _POWERS.search(text)
    if power is not None:
        return f"{power[1].upper()} is never given"
    return (
        "not allowed in creation statements: only CREATE ROLE with LOGIN, PASSWORD, VALID UNTIL, "
        "CONNECTION LIMIT and ROLE, then GRANT of a group role "
        'TO "{{name}}" WITH INHERIT TRUE, SET FALSE'
    )


def _membership_problems(target: Target, in_role: bool, grants: bool) -> Iterator[str]:
    modern = target.server_version >= FIRST_WITH_SET_OPTION
    if modern and in_role:
        yield "on PostgreSQL 16 and later use GRANT … WITH INHERIT TRUE, SET FALSE, not IN ROLE"
    if not modern and grants:
        yield "on PostgreSQL 15 and earlier use IN ROLE, not GRANT"
    if not in_role and not grants:
        yield "no group role is given: the credential could do nothing"


def _rendered_problems(definition: ScopeDefinition, target: Target) -> Iterator[str]:
    """Look at what really would be sent, for every value and connection."""
    single = replace(target, scopes={definition.name: definition})
    try:
        rendered = [role.creation[0] for _, role in expansions(single)]
    except ValueError as error:
        yield str(error)
        return
    for name in sorted({name for text in rendered for name in _names(text)}):
        if name.lower().startswith("pg_"):
            yield "a predefined pg_ role is no group role"
        if len(name) > LONGEST_IDENTIFIER:
            yield f"an identifier is longer than {LONGEST_IDENTIFIER} characters"


def _ending_problems(definition: ScopeDefinition) -> list[str]:
    text = _flat("; ".join(definition.revocation_statements))
    problems = []
    at = 0
    for name, pattern in _ending_steps(definition):
        found = re.compile(pattern, re.I).search(text, at)
        if found is None:
            return [f"revocation_statements lack {name}, or not in this order: {_ORDER}"]
        at = found.end()
    if "$" in text and " end " not in _QUOTED.sub("", text).lower():
        problems.append("a DO block needs END between spaces, or OpenBao splits it at each ;")
    word = _ENDING_NEVER.search(text)
    if word is not None:
        problems.append(f"{word[0].upper()} has no place in revocation_statements")
    return problems


_ORDER = "NOLOGIN, COMMIT, BEGIN, terminate sessions, REASSIGN OWNED, DROP OWNED, DROP ROLE"


def _ending_steps(definition: ScopeDefinition) -> Iterator[tuple[str, str]]:
    name = r'"\{\{name\}\}"'
    yield 'ALTER ROLE "{{name}}" NOLOGIN', rf"\bALTER ROLE {name} NOLOGIN\b"
    yield "COMMIT; BEGIN", r"; ?COMMIT ?; ?BEGIN ?;"
    yield "pg_terminate_backend", r"\bpg_terminate_backend ?\("
    if definition.reassign_owned_to is not None:
        heir = re.escape('"' + definition.reassign_owned_to.replace('"', '""') + '"')
        yield "REASSIGN OWNED", rf"\bREASSIGN OWNED BY {name} TO {heir}"
    yield 'DROP OWNED BY "{{name}}"', rf"\bDROP OWNED BY {name}"
    yield 'DROP ROLE IF EXISTS "{{name}}"', rf"\bDROP ROLE IF EXISTS {name}"


def _flat(text: str) -> str:
    return " ".join(text.split())


def _names(text: str) -> list[str]:
    return [name for name in re.findall(r'"([^"]*)"', text) if "{{" not in name]


def _listed(pattern: re.Pattern[str], text: str) -> list[str]:
    found = pattern.fullmatch(text)
    return _names(found["groups"]) if found else []


def _manager(seen: dict[str, str]) -> str | None:
    names = _names(seen.get('ROLE "<manager>"', ""))
    return names[0] if names else None
