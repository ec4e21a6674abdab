"""What the demo's bot does with a database credential: query, overstep, and try again later."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import psycopg

_PARTS = {"host": "host", "port": "port", "dbname": "database", "user": "username"}
PAUSE = 0.05
"""Seconds between two tries to come in again."""


def connect(credential: Mapping[str, Any]) -> psycopg.Connection[Any]:
    """Open a session with a credential as it was handed out. Raises psycopg.OperationalError."""
    given = {name: credential[part] for name, part in _PARTS.items()}
    return psycopg.connect(
        **given,
        password=credential["password"],
        sslmode=credential.get("sslmode", "require"),
        connect_timeout=5,
        autocommit=True,
    )


def psql_line(credential: Mapping[str, Any], query: str) -> str:
    """The same as a psql command line, without the password."""
    told = " ".join(f"{name}={credential[part]}" for name, part in _PARTS.items())
    return f'PGPASSWORD=… psql "{told}" -c "{query}"'


def refusal_of(session: psycopg.Connection[Any], statement: str) -> str | None:
    """What PostgreSQL says against a statement; None when it lets it pass."""
    try:
        session.execute(statement.encode())
    except psycopg.Error as no:
        return f"{no.sqlstate}: {no.diag.message_primary}"
    return None


def may_come_in(credential: Mapping[str, Any]) -> bool:
    """Whether a new session can be opened now."""
    try:
        connect(credential).close()
    except psycopg.OperationalError:
        return False
    return True


@dataclass
class Reconnecting:
    """A client that comes in again and again in a thread; `tries` are (began, came in)."""

    credential: Mapping[str, Any] = field(repr=False)
    tries: list[tuple[float, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Reconnecting:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(timeout=10)

    def since(self, instant: float) -> tuple[int, int]:
        """How many tries began after a monotonic instant, and how many of them came in."""
        tries = [came_in for began, came_in in list(self.tries) if began > instant]
        return len(tries), sum(tries)

    def wait_for_tries(self, count: int, since: float, within: float = 10.0) -> None:
        """Wait until so many tries began after an instant, for at most so many seconds."""
        deadline = time.monotonic() + within
        while self.since(since)[0] < count and time.monotonic() < deadline:
            time.sleep(PAUSE)

    def _loop(self) -> None:
        while not self._done.wait(PAUSE):
            began = time.monotonic()
            self.tries.append((began, may_come_in(self.credential)))
