"""What is wrong with a file: where, and in words for the person who will mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One fault at one place; `line` counts from 1, and is 0 for a whole file or folder."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class FilesInvalid(Exception):
    """Files are refused as a whole; `problems` are sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CatalogueInvalid(FilesInvalid):
    """The catalogue's files do not make a catalogue."""


class PolicyInvalid(FilesInvalid):
    """The policy files do not make a policy set for this catalogue."""
