"""The catalogue from its files: `catalogue/*.yaml`, one target each, refused as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from valetkey.core.ask import LONGEST_TTL, canonical_hash
from valetkey.core.catalogue import (
    Catalogue,
    Parameter,
    ParameterKind,
    ScopeDefinition,
    Target,
)
from valetkey.core.errors import BrokerError
from valetkey.core.scope import Scope
from valetkey.core.statement_checks import MOST_EXPANSIONS, breadth, statement_problems
from valetkey.policy.aws_target import aws_target, check_session_policy, session_policy
from valetkey.policy.problems import CatalogueInvalid, Problem
from valetkey.policy.section import Section
from valetkey.policy.texts import Texts, read_folder

MINTERS = ("openbao-database", "signed-token", "aws-sts")
MOST_CONNECTIONS = 16
MOST_VALUES = 64

_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,30}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,120}")
_AUDIENCE = re.compile(r"(?:https?://|urn:)[!-~]{1,250}")
_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_KINDS = get_args(ParameterKind)
_NEWER = frozenset({"max_life", "ack_within", "probe", "sealed"})
RENEWING = frozenset({"openbao-database"})
"""The minters whose credentials can be renewed."""
PROBING = frozenset({"openbao-database"})
"""The minters whose credentials can be ended at once, so that trying them leaves nothing behind."""
LONGEST_ACK = timedelta(minutes=10)


def load_catalogue(folder: Path) -> Catalogue:
    """Read every target of a folder. Raises CatalogueInvalid with all problems found."""
    problems: list[Problem] = []
    return read_catalogue(read_folder(folder, ".yaml", problems), str(folder), problems)


def read_catalogue(texts: Texts, place: str, before: Iterable[Problem] = ()) -> Catalogue:
    """Read every target, one text each; `place` is all of them together.

    Raises CatalogueInvalid with all problems found, those found `before` included.
    """
    problems = list(before)
    targets: dict[str, Target] = {}
    places: dict[str, tuple[str, int]] = {}
    for top in Section.tops(texts, problems, "a target"):
        target = _load_target(top, problems)
        if target is not None:
            _note_clash(targets, places, target, (top.file, problems))
    if not targets and not problems:
        problems.append(Problem(place, 0, "holds no target"))
    if problems:
        raise CatalogueInvalid(problems)
    return Catalogue(targets, digest_of(targets.values()))


def digest_of(targets: Iterable[Target]) -> str:
    """The catalogue's content digest (SHA-256, hex): what it means, not how it is laid out."""
    return canonical_hash({target.name: plain(asdict(target)) for target in targets})


def plain(value: object) -> object:
    """JSON values; what is newer than the first digests is left out where it says nothing."""
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    if isinstance(value, dict):
        said = {key: x for key, x in value.items() if x is not None or key not in _NEWER}
        return {key: plain(inner) for key, inner in said.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def _note_clash(
    targets: dict[str, Target],
    places: dict[str, tuple[str, int]],
    target: Target,
    where: tuple[str, list[Problem]],
) -> None:
    """Add the target unless its name, mount or audience is another's."""
    file, problems = where
    claims = {"target": target.name, "mount": target.mount, "audience": target.audience}
    claims["role_arn"] = target.role_arn  # its one cut policy belongs to one target
    for what, value in claims.items():
        if value and (other := places.get(f"{what} {value}")):
            problems.append(Problem(file, 1, f"{what} {value} is also in {other[0]}"))
        elif value:
            places[f"{what} {value}"] = (file, 1)
    targets.setdefault(target.name, target)


def _load_target(top: Section, problems: list[Problem]) -> Target | None:
    before = len(problems)
    target = _target(top)
    top.finish()
    return target if len(problems) == before else None


def _target(top: Section) -> Target:
    minter = top.text("minter") or ""
    if minter and minter not in MINTERS:
        top.note(top.line_of("minter"), "minter must be one of " + ", ".join(MINTERS))
    classes = top.texts("data_classes", required=False)
    _each(top, "data_classes", classes, _NAME)
    target = Target(
        name=_matching(top, "target", _NAME),
        minter=minter,
        environment=_matching(top, "environment", _NAME),
        owner=_matching(top, "owner", _WORD),
        data_classes=tuple(sorted(classes)),
        **_of_minter(top, minter),
    )
    definitions = _scopes(top, target)
    most = MOST_EXPANSIONS // max(1, len(target.connections))
    whole = replace(target, scopes={d.name: d for d in definitions})
    whole = replace(whole, probe=_probe(top, whole))
    if minter == "openbao-database" and sum(map(breadth, definitions)) > most:
        top.note(top.line_of("scopes"), f"more than {MOST_EXPANSIONS} paths would be pinned")
    return whole


def _probe(top: Section, target: Target) -> Scope | None:
    """What the broker itself may have made and ended: `read{region=eu}`, which changes nothing."""
    text = top.text("probe", required=False)
    if text is None:
        return None
    line = top.line_of("probe")
    if target.minter not in PROBING:
        top.note(line, "probe: what this minter makes cannot be ended at once")
        return None
    try:
        wanted = Catalogue({target.name: target}, "").find(Scope.parse(f"{target.name}:{text}"))
    except BrokerError as problem:
        top.note(line, f"probe is not one of the scopes, with all parameters: {problem.detail}")
        return None
    if wanted.definition.mutates:
        top.note(line, "probe: its scope mutates")
    return wanted.scope


def _of_minter(top: Section, minter: str) -> dict[str, Any]:
    """The keys that only this kind of target has."""
    if minter == "openbao-database":
        return _database(top)
    if minter == "signed-token":
        return {
            "audience": _matching(top, "audience", _AUDIENCE),
            "introspects": bool(top.boolean("introspects")),
        }
    if minter == "aws-sts":
        return aws_target(top)
    top.read |= top.entries.keys()
    return {}


def _database(top: Section) -> dict[str, Any]:
    connections = top.texts("connections")
    _each(top, "connections", connections, _NAME)
    if len(connections) > MOST_CONNECTIONS:
        top.note(top.line_of("connections"), f"at most {MOST_CONNECTIONS} connections")
    version = top.integer("server_version", required=False)
    return {
        "mount": _matching(top, "mount", _NAME),
        "connections": connections,
        "inspector": _matching(top, "inspector", _NAME),
        "server_version": 17 if version is None else version,
        "address": _address(top),
    }


def _address(top: Section) -> dict[str, str | int]:
    address = top.section("address")
    if address is None:
        return {}
    port = address.integer("port")
    if port is not None and not 0 < port < 65536:
        address.note(address.line_of("port"), "port must be between 1 and 65535")
    found: dict[str, str | int | None] = {
        "host": _matching(address, "host", _WORD),
        "port": port,
        "database": _matching(address, "database", _WORD),
        "sslmode": address.text("sslmode", required=False),
    }
    if found["sslmode"] not in {None, "disable", "require", "verify-ca", "verify-full"}:
        address.note(address.line_of("sslmode"), "sslmode must be one that libpq enforces")
    address.finish()
    return {key: value for key, value in found.items() if value is not None}


def _scopes(top: Section, target: Target) -> list[ScopeDefinition]:
    scopes = top.section("scopes")
    if scopes is None:
        return []
    if not scopes.entries:
        scopes.note(scopes.line, "scopes must hold at least one scope")
    return [_scope(name, section, target) for name, section in scopes.sections()]


def _scope(name: str, section: Section, target: Target) -> ScopeDefinition:
    if not _NAME.fullmatch(name):
        section.note(section.line, "a scope's name is lower-case letters, digits and dashes")
    max_ttl = section.duration("max_ttl") or timedelta(seconds=1)
    if max_ttl > min(LONGEST_TTL, target.max_session):
        most = "12h" if target.max_session >= LONGEST_TTL else "the max_session of its role"
        section.note(section.line_of("max_ttl"), f"max_ttl is over {most}")
    definition = ScopeDefinition(
        name=name,
        mutates=bool(section.boolean("mutates")),
        max_ttl=max_ttl,
        parameters=_parameters(section),
        summary=section.text("summary", required=False) or "",
        max_life=_max_life(section, target, max_ttl),
        ack_within=_ack_within(section),
        sealed=_sealed(section),
        **_statements(section, target),
    )
    if target.minter == "openbao-database" and target.connections:
        for message in statement_problems(definition, target):
            section.note(section.line_of(_place_of(message)), f"scope {name}: {message}")
    if target.minter == "aws-sts":
        check_session_policy(section, definition)
    section.finish()
    return definition


def _max_life(section: Section, target: Target, max_ttl: timedelta) -> timedelta | None:
    life = section.duration("max_life", required=False)
    if life is not None and not max_ttl <= life <= LONGEST_TTL:
        section.note(section.line_of("max_life"), "max_life is below max_ttl or over 12h")
    if life is not None and target.minter not in RENEWING:
        section.note(section.line_of("max_life"), "max_life: what this minter makes is not renewed")
    return life


def _ack_within(section: Section) -> timedelta | None:
    within = section.duration("ack_within", required=False)
    if within is not None and within > LONGEST_ACK:
        section.note(section.line_of("ack_within"), "ack_within is over 10m")
    return within


def _sealed(section: Section) -> Literal["required"] | None:
    """Whether it is given only sealed to a key of its asker's: the one word there is, or no key."""
    word = section.text("sealed", required=False)
    if word not in (None, "required"):
        section.note(section.line_of("sealed"), "sealed must be `required`, or left out")
    return "required" if word is not None else None


def _place_of(message: str) -> str:
    return "revocation_statements" if "revocation" in message else "creation_statements"


def _statements(section: Section, target: Target) -> dict[str, Any]:
    if target.minter == "aws-sts":
        return session_policy(section)
    if target.minter != "openbao-database":
        return {}
    heir = section.text("reassign_owned_to", required=False)
    if heir is not None and not _ROLE.fullmatch(heir):
        section.note(section.line_of("reassign_owned_to"), "reassign_owned_to must name a role")
    return {
        "creation_statements": section.texts("creation_statements"),
        "revocation_statements": section.texts("revocation_statements", required=False),
        "reassign_owned_to": heir,
    }


def _parameters(section: Section) -> tuple[Parameter, ...]:
    below = section.section("parameters", required=False)
    if below is None:
        return ()
    found = [_parameter(name, inner) for name, inner in below.sections()]
    return tuple(parameter for parameter in found if parameter is not None)


def _parameter(name: str, section: Section) -> Parameter | None:
    """`{enum: [...]}`, `{kind: identifier}`, `{kind: path_prefix}`, or an integer with bounds."""
    if not _KEY.fullmatch(name):
        section.note(section.line, "a parameter's name is lower-case letters, digits and _")
    parameter = _enum(name, section) if "enum" in section.entries else _kind(name, section)
    section.finish()
    return parameter


def _enum(name: str, section: Section) -> Parameter:
    values = section.texts("enum")
    if not 0 < len(values) <= MOST_VALUES:
        section.note(section.line_of("enum"), f"enum must hold 1 to {MOST_VALUES} values")
    if len(set(values)) != len(values):
        section.note(section.line_of("enum"), "enum holds a value twice")
    for value in values:
        if not _may_be_asked_for(name, value):
            section.note(section.line_of("enum"), "an enum value cannot be written in a scope")
    return Parameter(name, "enum", values)


def _kind(name: str, section: Section) -> Parameter | None:
    kind = section.text("kind")
    if kind == "integer":
        low, high = section.integer("minimum"), section.integer("maximum")
        if low is not None and high is not None and not 0 <= low <= high < 10**9:
            section.note(section.line, "minimum and maximum must be 0 <= minimum <= maximum < 10^9")
        return Parameter(name, "integer", minimum=low or 0, maximum=high or 0)
    if kind == "identifier":
        return Parameter(name, "identifier")
    if kind == "path_prefix":
        return Parameter(name, "path_prefix")
    if kind is not None:
        section.note(section.line_of("kind"), "kind must be one of " + ", ".join(_KINDS))
    return None


def _may_be_asked_for(name: str, value: str) -> bool:
    try:
        return Scope.parse(f"t:s{{{name}={value}}}").parameters == ((name, value),)
    except BrokerError:
        return False


def _matching(section: Section, key: str, pattern: re.Pattern[str]) -> str:
    text = section.text(key)
    if text is not None and not pattern.fullmatch(text):
        section.note(section.line_of(key), f"{key} is not well formed")
    return text or ""


def _each(section: Section, key: str, values: tuple[str, ...], pattern: re.Pattern[str]) -> None:
    if any(not pattern.fullmatch(value) for value in values):
        section.note(section.line_of(key), f"{key} holds a name that is not well formed")
    if len(set(values)) != len(values):
        section.note(section.line_of(key), f"{key} holds a name twice")
    if key == "connections" and not values:
        section.note(section.line_of(key), f"{key} must name at least one")
