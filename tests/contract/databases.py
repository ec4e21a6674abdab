"""A database of its own for each test: copied from one that was migrated once."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from valetkey.devstack import orders
from valetkey.devstack.stack import Stack
from valetkey.store.migrations import migrate

TEMPLATE = "valetkey_template"
_numbers = itertools.count(1)
_shared: list[Databases] = []


def dialect(dsn: str) -> str:
    """The same address in SQLAlchemy's words."""
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


class Databases:
    """Makes databases on the stack's PostgreSQL; `owner` and `app` are addresses of one of them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._create(TEMPLATE, "template1")
        migrate(self.owner(TEMPLATE))

    def owner(self, name: str) -> str:
        """The address of a database as its owner."""
        return dialect(self._stack.postgres.dsn(name, orders.OWNER))

    def app(self, name: str) -> str:
        """The address of a database as the application."""
        return dialect(self._stack.postgres.dsn(name, orders.APP))

    def superuser(self, name: str) -> str:
        """The address of a database as PostgreSQL's superuser, for psycopg."""
        return self._stack.postgres.dsn(name)

    def fresh(self, template: str = TEMPLATE) -> str:
        """The name of a new database; it goes with the stack, which is quicker than dropping it."""
        name = f"valetkey_test_{next(_numbers)}"
        self._create(name, template)
        return name

    def _create(self, name: str, template: str) -> None:
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {orders.OWNER}")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.superuser("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def databases(stack: Stack) -> Databases:
    """Databases on the real PostgreSQL of the run; however many folders ask, there is one."""
    if not _shared:
        _shared.append(Databases(stack))
    return _shared[0]
