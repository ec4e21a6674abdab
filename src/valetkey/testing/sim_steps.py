"""What the simulated store and back end ask of whoever runs them: when to let others act.

The simulator answers with a seeded scheduler; `Alone` answers for a single caller, so that the same
store and back end can be held to the contract suites.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from valetkey.core.errors import StoreUnavailable


class Steps(Protocol):
    """The points at which something else may happen first."""

    def step(self, what: str, about: str = "") -> None:
        """Others may act before this; what was asked for happens when it returns."""

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Others act until this is true."""

    def omen(self, of: str) -> str:
        """How this call goes: `ok`, or a word that the callee knows for going wrong."""


class Alone:
    """One caller and nobody else: nothing comes between, nothing goes wrong."""

    def step(self, what: str, about: str = "") -> None:
        """Nobody is there to act."""

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Raise StoreUnavailable: nobody would ever make it true."""
        raise StoreUnavailable(f"would wait for ever: {what}")

    def omen(self, of: str) -> str:
        """All is well."""
        return "ok"
