"""The credential itself: handed out once, silent everywhere else."""

from __future__ import annotations

from collections.abc import Mapping


class Secret:
    """A credential's parts; prints nothing, compares to nothing, and cannot be pickled."""

    __slots__ = ("_parts", "_public")

    def __init__(self, parts: Mapping[str, str], public: Mapping[str, object]) -> None:
        self._parts = dict(parts)
        self._public = dict(public)

    def reveal(self) -> dict[str, object]:
        """Everything the asker needs, the secret parts among it. Call it once, at the door."""
        return {**self._public, **self._parts}

    def parts(self) -> dict[str, str]:
        """Only the secret parts, to be fingerprinted."""
        return dict(self._parts)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not written down")
