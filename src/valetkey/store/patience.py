"""How long we wait for our own Postgres: for a connection, for one answer, for a stopped server.

A server that is stopped (SIGSTOP, a frozen machine whose kernel still answers) holds every
connection open and says nothing, so neither keepalives nor its own statement timeout help; then
we close the connection ourselves. What became of the statement is unknown, as after any cut.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

Result = TypeVar("Result")
ANSWER = timedelta(seconds=20)
OURS = 1.5  # the server gives up first: its own words leave the connection usable
IDLE = 2 / 3  # who waits for the locks of a frozen replica gets them before it gives up


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when one answer takes longer than `patience` seconds."""

    patience: float = OURS * ANSWER.total_seconds()

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        """What the server answers; raises OperationalError when it does not, and is closed then."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()  # still waited for: whatever comes now would answer something else
            raise


def connecting(answer: timedelta) -> dict[str, str | int]:
    """Parameters of a connection whose server is to answer a statement within this time."""
    seconds = answer.total_seconds()
    return {
        "connect_timeout": max(1, min(5, round(seconds))),
        "application_name": "valetkey",
        "keepalives_idle": 10,  # a peer that vanished without a word is noticed in half a minute
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "options": f"-c statement_timeout={seconds * 1000:.0f}"
        f" -c idle_in_transaction_session_timeout={seconds * IDLE * 1000:.0f}",
    }


def be_patient(engine: Engine, answer: timedelta) -> None:
    """Give every connection of an engine the bound on our own side."""

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: object, record: object, given: tuple[Any, ...], named: dict[str, Any]
    ) -> PatientConnection:
        connection = PatientConnection.connect(*given, **named)
        connection.patience = OURS * answer.total_seconds()
        return connection
