"""Cedar text before Cedar sees it: cut into single policies, and none larger than can be read.

Cedar's parser goes down its C stack with each bracket and each operator, and ends the whole process
where that is used up; what it prints as JSON nests as deeply, and Python refuses that at a depth
that depends on who calls. So each policy is bounded here, far below both: measured with an 8 MiB
stack and Python's own limit, 490 chained operators or nested lists are the last that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_BYTES = 32 * 1024
"""Bytes of one policy, its comments included."""
MOST_DEPTH = 32
"""Brackets open at one time: round, square and curly together."""
MOST_OPERATORS = 128
"""Operators, accesses and keywords of one policy (see `_OPERATOR`)."""

_SKIPPED = r'//[^\n]*|"(?:[^"\\]|\\.)*"?'  # a text that is not closed goes to the end
_PIECE = re.compile(rf'{_SKIPPED}|;|[^/";]+|.', re.S)
_TOKEN = re.compile(
    rf"(?P<skipped>{_SKIPPED})|(?P<word>\w+)|(?P<space>\s+)|(?P<pair>&&|\|\||[=!<>]=|::)|.", re.S
)
_OPERATOR = frozenset(
    {"&&", "||", "==", "!=", "<=", ">=", "if", "has", "like", "in", "is", "when", "unless"}
).union("<>=!+-*/%.&|?")
_OPENS, _CLOSES, _INDEX = frozenset("([{"), frozenset(")]}"), frozenset("[")


def cut(text: str) -> Iterator[tuple[int, str]]:
    """Cut Cedar text after each `;` outside texts and comments: (line, one policy).

    What is left after the last `;` comes too, unless it is only space and comments.
    """
    pieces: list[str] = []
    line, begun = 1, 0
    for found in _PIECE.finditer(text):
        piece = found[0]
        if not begun and not piece.startswith("//") and piece.strip():
            begun = line + piece[: len(piece) - len(piece.lstrip())].count("\n")
        if begun:
            pieces.append(piece)
        line += piece.count("\n")
        if begun and piece == ";":
            yield begun, "".join(pieces).strip()
            pieces, begun = [], 0
    if begun:
        yield begun, "".join(pieces).strip()


def too_large(policy: str) -> str | None:
    """Why one policy is more than may be given to Cedar; None when it is not."""
    if len(policy.encode()) > MOST_BYTES:
        return f"is larger than {MOST_BYTES} bytes"
    depth = operators = 0
    before = ""
    for token in _tokens(policy):
        operators += token in _OPERATOR or _goes_on(before, token)
        depth += (token in _OPENS) - (token in _CLOSES and depth > 0)
        if depth > MOST_DEPTH:
            return f"has more than {MOST_DEPTH} brackets within each other"
        if operators > MOST_OPERATORS:
            return f"has more than {MOST_OPERATORS} operators: make it several, or use a set"
        before = token
    return None


def _tokens(policy: str) -> Iterator[str]:
    """The tokens without space and comments; of a text only its first quote."""
    for found in _TOKEN.finditer(policy):
        token = found[0]
        if token.startswith('"'):
            yield '"'
        elif found.lastgroup not in ("space", "skipped"):
            yield token


def _goes_on(before: str, token: str) -> bool:
    """Whether a bracket goes on from what stands before it, as `a["b"]["c"]` does."""
    ended = before in _CLOSES or before == '"'
    if token in _INDEX:
        return ended or before[-1:].isalnum() or before[-1:] == "_"
    return token in _OPENS and ended
