"""The table of what people let agents do for them, and how tasks that rest on it are found."""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, DateTime, ForeignKey, Index, Table, Text, or_
from sqlalchemy.dialects.postgresql import JSONB

from valetkey.store.tables import metadata, tasks

delegations = Table(
    "delegations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("groups", JSONB, nullable=False),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    Column("scopes", JSONB, nullable=False),
    Column("given_at", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("source", Text, nullable=False),
    Column("withdrawn_at", DateTime(timezone=True), nullable=True),
    Column("withdrawn_by", Text, nullable=True),
    Index("ix_delegations_principal", "principal", "id"),
    Index("ix_delegations_email", "email", "id"),
    Index("ix_delegations_agent_id", "agent_id", "id"),
)
Index(
    "ix_tasks_delegation_id",
    tasks.c.delegation_id,
    postgresql_where=tasks.c.delegation_id.is_not(None),
)
Index(
    "ix_tasks_on_behalf_of",
    tasks.c.on_behalf_of,
    tasks.c.id,
    postgresql_where=tasks.c.on_behalf_of.is_not(None),
)


def of_person(subject: object) -> ColumnElement[bool]:
    """The delegations of a person, named by principal or by address."""
    return or_(delegations.c.principal == subject, delegations.c.email == subject)
