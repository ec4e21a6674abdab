"""Scope: what may be done to which target with which parameters. It only ever narrows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from valetkey.core.errors import InvalidParameter, InvalidRequest

_NAME = r"[a-z][a-z0-9-]{0,40}"
_WRITTEN = re.compile(rf"(?P<target>{_NAME}):(?P<name>{_NAME})(?:\{{(?P<parameters>[^{{}}]*)\}})?")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,30}")
_VALUE = re.compile(r"[A-Za-z0-9._/-]{1,128}")
MAX_WRITTEN = 512


@dataclass(frozen=True)
class Scope:
    """A target, an action on it, and exact parameters; `a <= b` reads "no wider than".

    A parameter that is absent is not limited, which only a boundary or a task may leave so:
    an ask names every parameter (`Catalogue.find` checks it).
    """

    target: str
    name: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.parameters:
            return f"{self.target}:{self.name}"
        inside = ",".join(f"{key}={value}" for key, value in self.parameters)
        return f"{self.target}:{self.name}{{{inside}}}"

    def __le__(self, other: Scope) -> bool:
        if (self.target, self.name) != (other.target, other.name):
            return False
        mine = dict(self.parameters)
        return all(key in mine and _within(mine[key], top) for key, top in other.parameters)

    def value(self, key: str) -> str:
        """The value of one parameter; raises KeyError when the scope does not limit it."""
        return dict(self.parameters)[key]

    @classmethod
    def parse(cls, text: object) -> Scope:
        """Read `target:name{key=value,...}`.

        Raises InvalidRequest when it is not so written, InvalidParameter for a bad parameter.
        The text is never echoed.
        """
        if not isinstance(text, str) or len(text) > MAX_WRITTEN:
            raise InvalidRequest("a scope is a text like orders-db:read{region=eu}")
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise InvalidRequest("a scope is written target:name{key=value}")
        inside = found["parameters"]
        pairs = [] if inside is None else [_pair(part) for part in inside.split(",")]
        if len({key for key, _ in pairs}) != len(pairs):
            raise InvalidParameter("a parameter is given twice")
        return cls(found["target"], found["name"], tuple(sorted(pairs)))


def within_any(scope: Scope, bounds: tuple[Scope, ...]) -> bool:
    """True when the scope is no wider than at least one of the bounds."""
    return any(scope <= bound for bound in bounds)


def _within(value: str, top: str) -> bool:
    """Equal, or below a path prefix: a value that ends in `/` contains what is under it."""
    return value == top or (top.endswith("/") and value.startswith(top))


def _pair(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
        raise InvalidParameter("a parameter is key=value of letters, digits, dot, dash, slash")
    if any(segment in {"", ".", ".."} for segment in value.removesuffix("/").split("/")):
        raise InvalidParameter("a parameter holds no empty or dotted path segment")
    return key, value
