"""What tables are made of: their names' forms, and the columns that most of them have."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


def instant(name: str, *, optional: bool = False) -> Column[object]:
    """A moment in UTC."""
    return Column(name, DateTime(timezone=True), nullable=optional)


def words(name: str, *, optional: bool = False) -> Column[str]:
    """A text."""
    return Column(name, Text, nullable=optional)


def json(name: str, *, optional: bool = False) -> Column[object]:
    """A JSON value."""
    return Column(name, JSONB, nullable=optional)
