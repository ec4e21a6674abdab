"""What is wrong with a file: where, and in words for the person who will mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_DECEIVING = re.compile("[\x85\u2028\u2029\ufeff\u202a-\u202e\u2066-\u2069]|\r(?!\n)")


@dataclass(frozen=True, order=True)
class Problem:
    """One fault at one place; `line` counts from 1, and is 0 for a whole file or folder."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}" if place else self.message


class FilesInvalid(Exception):
    """Files are refused as a whole; `problems` are sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CatalogueInvalid(FilesInvalid):
    """The catalogue's files do not make a catalogue."""


class PolicyInvalid(FilesInvalid):
    """The policy files do not make a policy set for this catalogue."""


def deceiving(text: str, file: str) -> Problem | None:
    """The first character that shows a reader other lines or another order than a parser sees."""
    found = _DECEIVING.search(text)
    if found is None:
        return None
    line = text[: found.start()].count("\n") + 1
    return Problem(file, line, "holds a character that hides lines or order")
