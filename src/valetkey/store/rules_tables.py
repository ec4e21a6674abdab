"""The tables of versions of the rules: what they say, when they came into force, what waits."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text, text

from valetkey.store.columns import instant as _instant
from valetkey.store.columns import json as _json
from valetkey.store.columns import metadata
from valetkey.store.columns import words as _text

rules_versions = Table(
    "rules_versions",
    metadata,
    Column("digest", Text, primary_key=True),
    _json("files"),
    _text("catalogue_digest"),
    _text("policy_hash"),
    _text("pushed_by"),
    _text("rule", optional=True),
    _instant("pushed_at"),
)

rules_activations = Table(
    "rules_activations",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("digest", Text, ForeignKey("rules_versions.digest"), nullable=False),
    _text("cause"),
    _text("by"),
    _instant("at"),
    _text("reason"),
    Index("ix_rules_activations_digest", "digest"),
)

rules_proposals = Table(
    "rules_proposals",
    metadata,
    Column("id", Text, primary_key=True),
    _text("digest"),
    _text("base"),
    _text("rule"),
    _text("created_by"),
    _instant("created_at"),
    _text("state"),
    _text("decided_by", optional=True),
    _instant("decided_at", optional=True),
    Index(
        "ix_rules_proposals_open",
        "rule",
        unique=True,
        postgresql_where=text("state IN ('refused', 'waiting')"),
    ),
)
