"""Who acts: the agents of a chain of tasks, and the person on whose behalf, as claims say it.

RFC 8693 section 4.1: the outermost `act` is the current actor, those inside are history, the least
recent innermost, and give nobody anything. We build it from tasks and delegations of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final


@dataclass(frozen=True)
class Actors:
    """Agents' ids from the root of the chain down; `person` is a principal as one text."""

    agents: tuple[str, ...] = ()
    person: str | None = None

    @classmethod
    def of(cls, agents: Sequence[str], person: str | None) -> Actors:
        """The same agent several times in a row acts once."""
        return cls(tuple(agent for agent, _ in groupby(agents)), person)

    def claims(self) -> dict[str, object]:
        """`act`, and `sub` where it is a person; nothing for an agent that acts for itself."""
        if self.person is None and len(self.agents) < 2:
            return {}
        act: dict[str, object] = {}
        for agent in self.agents:
            act = {"sub": agent, **({"act": act} if act else {})}
        return {"act": act} if self.person is None else {"sub": self.person, "act": act}


NOBODY: Final = Actors()
