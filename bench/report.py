"""What a part of a bench found, as lines of its report and as the table of a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare import spread


@dataclass(frozen=True)
class Found:
    """One goal: the ratios that were found, each of its own round, or a text in their place."""

    what: str
    goal: str
    ratios: Sequence[float] = ()
    text: str = ""

    @property
    def reached(self) -> str:
        """The median, and the range in brackets."""
        return self.text or spread(self.ratios)

    def line(self) -> str:
        """Goal and what was reached."""
        return f"  {self.what:66} goal {self.goal:12} reached {self.reached}"


def summary(found: Sequence[Found]) -> None:
    """Print what was reached, as lines to read and as a Markdown table to paste into a page."""
    told("", "Goals and what was reached (median [range]):", *(one.line() for one in found), load())
    rows = [f"| {one.what} | {one.goal} | {one.reached} |" for one in found]
    told("", f"As a table ({load()}):", "", "| | goal | reached |", "|---|---|---|", *rows)


def told(*lines: str) -> None:
    """Print at once."""
    print(*lines, sep="\n", flush=True)


def load() -> str:
    """The machine's load average."""
    return "load average " + " ".join(f"{value:.1f}" for value in os.getloadavg())


def at(share: float, values: Sequence[float]) -> float:
    """The value that this share of them stays below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
