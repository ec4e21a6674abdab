"""YAML read strictly: every value knows its line, and nothing is guessed.

Refused with file and line: duplicate keys, tags, anchors, aliases, directives, more than one
document, plain words that YAML 1.1 reads as something else (`yes`, `0o17`, `1e3`, `2026-01-01`,
`~`), nesting deeper than 20, files over 256 KiB, text that is not UTF-8, and characters that
show a reader other lines or another order than the parser sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from valetkey.policy.problems import FilesInvalid, Problem, deceiving
from valetkey.policy.texts import read_text

MAX_DEPTH = 20

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_LIKE_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_LIKE_BASE = re.compile(r"[-+]?0[xob][0-9A-Fa-f_]+")
_LIKE_WORD = re.compile(r"y|n|yes|no|on|off|true|false|null|none|~|", re.I)
_STR = "tag:yaml.org,2002:str"

Value = str | int | bool | tuple["Node", ...] | dict[str, "Entry"]


@dataclass(frozen=True)
class Node:
    """A value and the line where it begins."""

    value: Value
    line: int


@dataclass(frozen=True)
class Entry:
    """One entry of a mapping: the line of its key, and its value."""

    line: int
    node: Node


def load_yaml(path: Path) -> Node:
    """Read one file. Raises FilesInvalid with the first problem found in it."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, name: str) -> Node:
    """Read one document; `name` is the file named in problems. Raises FilesInvalid."""
    hidden = deceiving(text, name)
    if hidden is not None:
        raise FilesInvalid([hidden])
    try:
        _check_events(text, name)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _refused(name, line, f"is not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _refused(name, line, "holds a character that YAML does not allow") from None
    if root is None:
        raise _refused(name, 1, "is empty")
    return _node(root, name)


def _check_events(text: str, name: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        for what in _forbidden(event):
            raise _refused(name, line, f"{what} are not allowed")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(name, line, "holds more than one document")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refused(name, line, f"is nested deeper than {MAX_DEPTH}")


def _forbidden(event: yaml.Event) -> Iterator[str]:
    if isinstance(event, yaml.AliasEvent):
        yield "aliases"
    elif getattr(event, "anchor", None) is not None:
        yield "anchors"
    if getattr(event, "tag", None) is not None:
        yield "tags"
    if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
        yield "directives"


def _node(node: yaml.Node, name: str) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return Node(_mapping(node, name), line)
    if isinstance(node, yaml.SequenceNode):
        return Node(tuple(_node(item, name) for item in node.value), line)
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node, name), line)
    raise _refused(name, line, "is not a mapping, a list or a scalar")


def _mapping(node: yaml.MappingNode, name: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        word = _scalar(key, name) if isinstance(key, yaml.ScalarNode) else None
        if not isinstance(word, str):
            raise _refused(name, line, "a key must be a text")
        if word in entries:
            raise _refused(name, line, f"duplicate key {word!r}")
        entries[word] = Entry(line, _node(value, name))
    return entries


def _scalar(node: yaml.ScalarNode, name: str) -> str | int | bool:
    text: str = node.value
    if node.style is not None:
        return text
    if text in {"true", "false"}:
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if node.tag != _STR or any(p.fullmatch(text) for p in (_LIKE_NUMBER, _LIKE_BASE, _LIKE_WORD)):
        line = node.start_mark.line + 1
        raise _refused(name, line, "a plain word that YAML may read as something else: quote it")
    return text


def _refused(name: str, line: int, message: str) -> FilesInvalid:
    return FilesInvalid([Problem(name, line, message)])
