"""Words of a closed list that a newer version may have written: kept, shown, and never acted on.

While replicas are upgraded one after the other, an older one reads rows of a newer one. A word it
does not know becomes a value of the same type that is none of its members, so that whatever asks
`state is ...` finds that it is not that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

Word = TypeVar("Word", bound=StrEnum)


def read_word(kind: type[Word], written: str) -> Word:
    """The member that was written, or a stranger with that text, which is written back the same.

    For what our own database holds, never for what callers send.
    """
    try:
        return kind(written)
    except ValueError:
        stranger = str.__new__(kind, written)
        stranger._name_ = stranger._value_ = written
        return stranger


def is_known(word: StrEnum) -> bool:
    """False for a word that a newer version wrote."""
    return any(word is member for member in type(word))
