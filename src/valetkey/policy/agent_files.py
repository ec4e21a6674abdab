"""Agents as reviewed files want them: `agents/*.yaml`, one agent each, refused as a whole.

The forms are those of the HTTP contract, so that what is wrong is told with its line before
anything is sent; what the trust rule allows only the broker knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from valetkey.core.errors import BrokerError
from valetkey.core.scope import Scope
from valetkey.flows.agents import NewAgent, NewBinding
from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.section import Section
from valetkey.policy.texts import read_folder

NAME = r"[a-z][a-z0-9-]{0,62}"
EMAIL = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}"
LABEL = r"[a-z][a-z0-9_.-]{0,62}"
LABEL_VALUE = r"[A-Za-z0-9][A-Za-z0-9_.@/-]{0,127}"
ISSUER = r"[\x21-\x7e]{1,255}"
CLAIM = r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}"
CLAIM_VALUE = r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?"
MOST = {"labels": 32, "boundary": 64, "bindings": 16, "claims": 16}
"""How many entries the contract takes of each."""


@dataclass(frozen=True)
class AgentFile:
    """One file, what it wants, and the lines of its parts by name."""

    file: str
    wanted: NewAgent
    lines: Mapping[str, int]

    def problem(self, part: str, message: str) -> Problem:
        """What is wrong with one part, at its place."""
        return Problem(self.file, self.lines.get(part, 1), message)


def load_agents(folder: Path) -> tuple[AgentFile, ...]:
    """Read every agent of a folder. Raises FilesInvalid with all problems found."""
    problems: list[Problem] = []
    texts = read_folder(folder, ".yaml", problems)
    found = [_agent(top) for top in Section.tops(texts, problems, "an agent")]
    if not found and not problems:
        problems.append(Problem(str(folder), 0, "holds no agent"))
    _note_clashes(found, problems)
    if problems:
        raise FilesInvalid(problems)
    return tuple(found)


def _agent(top: Section) -> AgentFile:
    lines = {key: entry.line for key, entry in top.entries.items()}
    wanted = NewAgent(
        name=_text(top, "name", NAME),
        owner=_text(top, "owner", EMAIL),
        team=_text(top, "team", NAME),
        labels=_pairs(top, "labels", LABEL, LABEL_VALUE, required=False),
        boundary=_boundary(top),
        bindings=_bindings(top),
    )
    top.finish()
    return AgentFile(top.file, wanted, lines)


def _boundary(top: Section) -> tuple[Scope, ...]:
    found = []
    texts = top.texts("boundary")
    _count(top, "boundary", len(texts))
    for text in texts:
        try:
            found.append(Scope.parse(text))
        except BrokerError as wrong:
            top.note(top.line_of("boundary"), f"boundary: {wrong.detail}")
    return tuple(found)


def _bindings(top: Section) -> tuple[NewBinding, ...]:
    found = []
    sections = top.mappings("bindings", required=False)
    _count(top, "bindings", len(sections))
    for section in sections:
        issuer = _text(section, "issuer", ISSUER)
        claims = _pairs(section, "claims", CLAIM, CLAIM_VALUE)
        section.finish()
        found.append(NewBinding(issuer, tuple(sorted(claims.items()))))
    return tuple(found)


def _text(section: Section, key: str, form: str) -> str:
    text = section.text(key)
    if text is not None and not re.fullmatch(form, text):
        section.note(section.line_of(key), f"{key} is not of its form")
    return text or ""


def _pairs(
    section: Section, key: str, name: str, value: str, *, required: bool = True
) -> dict[str, str]:
    """A mapping of texts, each of its form."""
    inner = section.section(key, required=required)
    if inner is None:
        return {}
    _count(section, key, len(inner.entries))
    for word in inner.entries:
        if not re.fullmatch(name, word):
            inner.note(inner.line_of(word), f"a name in {key} is not of its form")
    return {word: _text(inner, word, value) for word in inner.entries}


def _count(section: Section, key: str, count: int) -> None:
    if count > MOST[key]:
        section.note(section.line_of(key), f"{key} holds more than {MOST[key]}")


def _note_clashes(files: Iterable[AgentFile], problems: list[Problem]) -> None:
    """An agent has one file, and an identity one agent."""
    names: dict[str, AgentFile] = {}
    bound: list[tuple[AgentFile, NewBinding]] = []
    for one in files:
        if one.wanted.name and (first := names.setdefault(one.wanted.name, one)) is not one:
            problems.append(one.problem("name", f"name is also in {first.file}"))
        for binding in one.wanted.bindings:
            for other, theirs in bound:
                if other is not one and _shared(binding, theirs):
                    problems.append(
                        one.problem("bindings", f"an identity is also in {other.file}")
                    )
            bound.append((one, binding))


def _shared(one: NewBinding, other: NewBinding) -> bool:
    mine, theirs = set(one.claims), set(other.claims)
    same = one.issuer == other.issuer and bool(mine) and bool(theirs)
    return same and (mine <= theirs or theirs <= mine)
