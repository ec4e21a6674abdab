"""Tallies: a count and a word that our database and a witness outside both hold, ever renewed.

A database restored from an older copy, a witness restored from one, and a second database under
our name each show as a tally that the other side never had. The next tally is written down before
it is noted outside, so that a crash in between is none of these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


@dataclass(frozen=True)
class Tally:
    """One of them: how many there were, and a word that is made up for it alone."""

    number: int
    word: str


@dataclass(frozen=True)
class Noted:
    """What a witness holds, and which version of its note that is."""

    tally: Tally
    version: int


@dataclass(frozen=True)
class Tallies:
    """What our database knows: the tally last seen outside, and the one perhaps noted since."""

    last: Tally | None = None
    coming: Tally | None = None

    def proposed(self, word: str) -> Tallies:
        """With a tally to note next; one that was proposed before stays."""
        number = self.last.number + 1 if self.last else 1
        return self if self.coming else replace(self, coming=Tally(number, word))

    def noted(self) -> Tallies:
        """The coming one is outside."""
        return Tallies(self.coming) if self.coming else self

    def above(self, there: Tally | None, word: str) -> Tallies:
        """To go on from what is outside: somebody decided that we are the original."""
        known = [tally.number for tally in (self.last, self.coming, there) if tally]
        return replace(self, coming=Tally(max(known, default=0) + 1, word))


class Doubt(StrEnum):
    """Why our database and a witness cannot both be what they were."""

    WE_ARE_OLDER = (
        "our database remembers less than its witness: it was restored from a copy, or a second"
        " one runs under its name; see `valetkey installation new-epoch`"
    )
    WITNESS_IS_OLDER = (
        "the witness remembers less than our database: it was restored from a copy, or cleared"
    )
    TWIN = "a second database runs under the name of ours"


def doubt(ours: Tallies, there: Tally | None) -> Doubt | None:
    """What is wrong, if anything: the witness holds neither our last tally nor our coming one."""
    last = ours.last
    if there == last or (there is not None and there == ours.coming):
        return None
    if there is None:
        return Doubt.WITNESS_IS_OLDER
    if last is None or there.number > last.number + 1:
        return Doubt.WE_ARE_OLDER
    if there.number < last.number:
        return Doubt.WITNESS_IS_OLDER
    ahead = there.number > last.number and ours.coming is None
    return Doubt.WE_ARE_OLDER if ahead else Doubt.TWIN
