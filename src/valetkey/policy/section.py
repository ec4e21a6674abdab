"""Typed reading of one YAML mapping: every fault is noted with its line, and reading goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.strict_yaml import Entry, Node, parse_yaml
from valetkey.policy.texts import Texts

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smh])")
T = TypeVar("T", str, bool, int)
_UNITS = {"s": 1, "m": 60, "h": 3600}


def duration_of(text: str) -> timedelta | None:
    """Read `90s`, `15m` or `1h`; None when it is not so written."""
    found = _DURATION.fullmatch(text)
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]]) if found else None


@dataclass
class Section:
    """One mapping of a file. Each reader returns None (or what is empty) after noting a fault.

    `finish` notes the keys that nobody read: unknown keys are refused.
    """

    file: str
    line: int
    entries: dict[str, Entry]
    problems: list[Problem]
    read: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, node: Node, file: str, problems: list[Problem], what: str) -> Section:
        """The mapping at a node; an empty one, with a problem, when it is something else."""
        entries = node.value if isinstance(node.value, dict) else {}
        section = cls(file, node.line, entries, problems)
        if not isinstance(node.value, dict):
            section.note(node.line, f"{what} must be a mapping")
        return section

    @classmethod
    def tops(cls, texts: Texts, problems: list[Problem], what: str) -> Iterator[Section]:
        """The one mapping of each file, by name; of one that cannot be read its problems alone."""
        for name, text in sorted(texts.items()):
            try:
                root = parse_yaml(text, name)
            except FilesInvalid as error:
                problems.extend(error.problems)
                continue
            yield cls.of(root, name, problems, what)

    def note(self, line: int, message: str) -> None:
        """Note a fault."""
        self.problems.append(Problem(self.file, line, message))

    def line_of(self, key: str) -> int:
        """The line of a key, else that of the mapping."""
        entry = self.entries.get(key)
        return entry.line if entry else self.line

    def text(self, key: str, *, required: bool = True) -> str | None:
        """A text."""
        return self._typed(key, str, "a text", required)

    def boolean(self, key: str, *, required: bool = True) -> bool | None:
        """`true` or `false`."""
        return self._typed(key, bool, "true or false", required)

    def integer(self, key: str, *, required: bool = True) -> int | None:
        """A whole number."""
        return self._typed(key, int, "a whole number", required)

    def duration(self, key: str, *, required: bool = True) -> timedelta | None:
        """A duration like `15m`."""
        text = self._typed(key, str, "a duration like 15m", required)
        if text is None:
            return None
        found = duration_of(text)
        if found is None:
            self.note(self.line_of(key), f"{key} must be a duration like 90s, 15m or 1h")
        return found

    def texts(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        """A list of texts."""
        node = self._node(key, required)
        if node is None:
            return ()
        if not isinstance(node.value, tuple):
            self.note(node.line, f"{key} must be a list")
            return ()
        found = [(item.line, item.value) for item in node.value]
        for line, value in found:
            if not isinstance(value, str):
                self.note(line, f"{key} must hold texts only")
        return tuple(value for _, value in found if isinstance(value, str))

    def mappings(self, key: str, *, required: bool = True) -> list[Section]:
        """A list of mappings."""
        node = self._node(key, required)
        if node is None:
            return []
        if not isinstance(node.value, tuple):
            self.note(node.line, f"{key} must be a list")
            return []
        return [Section.of(item, self.file, self.problems, f"one of {key}") for item in node.value]

    def section(self, key: str, *, required: bool = True) -> Section | None:
        """A mapping below."""
        node = self._node(key, required)
        return None if node is None else Section.of(node, self.file, self.problems, key)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Every entry as a mapping of its own; then all keys count as read."""
        for key, entry in self.entries.items():
            self.read.add(key)
            yield key, Section.of(entry.node, self.file, self.problems, key)

    def finish(self) -> None:
        """Note every key that was not read."""
        for key, entry in self.entries.items():
            if key not in self.read:
                self.note(entry.line, f"unknown key {key!r}")

    def _node(self, key: str, required: bool) -> Node | None:
        self.read.add(key)
        entry = self.entries.get(key)
        if entry is None and required:
            self.note(self.line, f"{key} is missing")
        return entry.node if entry else None

    def _typed(self, key: str, kind: type[T], what: str, required: bool) -> T | None:
        node = self._node(key, required)
        if node is None:
            return None
        value = node.value
        if type(value) is kind:
            return value
        self.note(node.line, f"{key} must be {what}")
        return None
