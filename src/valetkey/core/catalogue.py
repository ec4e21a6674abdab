"""The catalogue as values: targets, their scopes, and what an ask must look like to be one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from valetkey.core.actors import NOBODY, Actors
from valetkey.core.errors import InvalidParameter, UnknownScope
from valetkey.core.scope import Scope

ParameterKind = Literal["enum", "identifier", "path_prefix", "integer"]
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_PREFIX = re.compile(r"(?:[A-Za-z0-9._-]+/)+")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Parameter:
    """One typed parameter of a scope: what an ask may put there."""

    name: str
    kind: ParameterKind
    values: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 0

    def check(self, value: str) -> None:
        """Raise InvalidParameter, without echoing the value, when it is out of type."""
        if not self._fits(value):
            raise InvalidParameter(f"parameter {self.name} is not a valid {self.kind}")

    def _fits(self, value: str) -> bool:
        match self.kind:
            case "enum":
                return value in self.values
            case "identifier":
                return _IDENTIFIER.fullmatch(value) is not None
            case "path_prefix":
                return _PREFIX.fullmatch(value) is not None
            case "integer":
                fits = _INTEGER.fullmatch(value) is not None
                return fits and self.minimum <= int(value) <= self.maximum


@dataclass(frozen=True)
class ScopeDefinition:
    """What the catalogue says of one scope. Statements are those of the target's own language.

    `max_life` bounds the whole life of a credential that is renewed, None bounds it by `max_ttl`.
    With `ack_within` a credential ends unless its asker says so soon that it came. What must be
    `sealed` is only given to asks that name a key for it.
    """

    name: str
    mutates: bool
    max_ttl: timedelta
    parameters: tuple[Parameter, ...] = ()
    creation_statements: tuple[str, ...] = ()
    revocation_statements: tuple[str, ...] = ()
    reassign_owned_to: str | None = None
    session_policy: tuple[str, ...] = ()
    summary: str = ""
    max_life: timedelta | None = None
    ack_within: timedelta | None = None
    sealed: Literal["required"] | None = None

    @property
    def longest(self) -> timedelta:
        """The longest that any of its credentials may live, renewals included."""
        return self.max_life or self.max_ttl


@dataclass(frozen=True)
class Target:
    """An outside system we hold keys to, and the scopes that may be had on it.

    `probe` is what the broker itself has minted and ended now and then, to see whether it works.
    """

    name: str
    minter: str
    environment: str
    owner: str
    data_classes: tuple[str, ...] = ()
    address: Mapping[str, str | int] = field(default_factory=dict)
    mount: str = ""
    connections: tuple[str, ...] = ()
    inspector: str = ""
    server_version: int = 17
    audience: str = ""
    introspects: bool = False
    role_arn: str = ""
    region: str = ""
    slots: int = 0
    max_session: timedelta = timedelta(hours=12)
    witness: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[str, ScopeDefinition] = field(default_factory=dict)
    probe: Scope | None = None


@dataclass(frozen=True)
class CataloguedScope:
    """A scope together with the definition that was in force when it was asked for.

    `actors` are those who will use it, where somebody asks.
    """

    scope: Scope
    target: Target
    definition: ScopeDefinition
    catalogue_digest: str
    actors: Actors = NOBODY


@dataclass(frozen=True)
class Catalogue:
    """Every target, under one content digest."""

    targets: Mapping[str, Target]
    digest: str

    def find(self, scope: Scope) -> CataloguedScope:
        """The full definition of an ask's scope.

        Raises UnknownScope, or InvalidParameter when a parameter is missing, unknown or out of
        its type. Every declared parameter must be given.
        """
        target = self.targets.get(scope.target)
        definition = target.scopes.get(scope.name) if target else None
        if target is None or definition is None:
            raise UnknownScope()
        declared = {parameter.name: parameter for parameter in definition.parameters}
        given = dict(scope.parameters)
        if declared.keys() != given.keys():
            raise InvalidParameter("give exactly these parameters: " + ", ".join(sorted(declared)))
        for name, parameter in declared.items():
            parameter.check(given[name])
        return CataloguedScope(scope, target, definition, self.digest)

    def check_bound(self, bound: Scope) -> None:
        """Check a task's or boundary's scope: known, and each parameter it limits in its type."""
        target = self.targets.get(bound.target)
        definition = target.scopes.get(bound.name) if target else None
        if definition is None:
            raise UnknownScope()
        declared = {parameter.name: parameter for parameter in definition.parameters}
        for name, value in bound.parameters:
            if name not in declared:
                raise InvalidParameter("a parameter is not declared by the scope")
            declared[name].check(value)
