"""The small ports: time to wait, room to work in, who decides, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from valetkey.core.catalogue import Catalogue
from valetkey.core.decision import Decision, Question
from valetkey.core.tally import Noted, Tally


class Deadline(Protocol):
    """A moment on the monotonic clock, unmoved by steps of the wall clock."""

    def left(self) -> float:
        """Seconds left; zero or less when it has passed."""


class Clock(Protocol):
    """Monotonic waiting only; "now" is always the transaction's."""

    def deadline(self, after: timedelta) -> Deadline:
        """A deadline that much later."""

    def wait(self, seconds: float) -> None:
        """Let that many seconds pass."""


class Lanes(Protocol):
    """Bounded room for outside calls, one lane for each target, so that one cannot fill all."""

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Have it done soon, in its lane; who starts work has asked for room before."""

    def full(self) -> Sequence[str]:
        """The lanes that have next to no room now."""

    def room(self) -> int:
        """How much work surely finds room in any one lane that is not full."""

    def shut(self) -> Sequence[str]:
        """The targets that do not answer and are left alone."""

    def trials(self) -> Sequence[str]:
        """Of those, the ones in which one ending may be tried now; asking takes the trial."""

    def refusal(self, lane: str) -> float | None:
        """Seconds until asking for a mint there makes sense; None when it does now."""

    def leave_alone(self, lane: str) -> None:
        """Begin nothing there for a while: somebody saw that it cannot work."""


class PolicyEngine(Protocol):
    """Decides. Never raises: what goes wrong inside is a deny that says so."""

    def decide(self, question: Question) -> Decision:
        """Answer one question, with the smallest set of approvals that would flip a deny."""


class RuleSet(Protocol):
    """One active version of catalogue and policy."""

    @property
    def catalogue(self) -> Catalogue: ...

    @property
    def policy(self) -> PolicyEngine: ...


class Notifier(Protocol):
    """Tells people."""

    def alarm(self, what: str, about: Mapping[str, str]) -> None:
        """Something needs a human; never raises, never carries a secret."""


class Witness(Protocol):
    """A place outside our database that holds its tally; raises what a minter raises."""

    def noted(self, installation: str) -> Noted | None:
        """What is noted there for a name like `abcdefe1`."""

    def note(self, installation: str, tally: Tally, over: int) -> None:
        """Note it over that version (0: none); raises MinterRefused if another one is there."""

    def installations(self) -> Sequence[str]:
        """Every name for which anything was ever noted there."""


@dataclass(frozen=True)
class Trouble:
    """Why a replica cannot issue now: the part of it, and a sentence that is no secret.

    Only the part is told to strangers; the sentence may name targets.
    """

    part: str
    detail: str

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}"
