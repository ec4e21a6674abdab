"""What a part of the growth bench found, as lines of the report."""

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

    def line(self) -> str:
        """Goal and what was reached: the median, and the range in brackets."""
        reached = self.text or spread(self.ratios)
        return f"  {self.what:66} goal {self.goal:12} reached {reached}"


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
