"""The tables, as SQLAlchemy Core knows them; `migrations/` makes them, and a test compares both.

Durations are whole seconds (`*_seconds`), instants are `timestamptz` in UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from valetkey.store.columns import instant as _instant
from valetkey.store.columns import json as _json
from valetkey.store.columns import metadata as metadata
from valetkey.store.columns import words as _text
from valetkey.store.rules_tables import rules_activations as rules_activations
from valetkey.store.rules_tables import rules_proposals as rules_proposals
from valetkey.store.rules_tables import rules_versions as rules_versions

installation = Table(
    "installation",
    metadata,
    Column("singleton", Boolean, primary_key=True),
    _text("id"),
    Column("epoch", Integer, nullable=False),
    _instant("created_at"),
    CheckConstraint("singleton", name="only_one"),
)

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _text("owner"),
    _text("team"),
    _text("environment"),
    _json("labels"),
    _json("boundary"),
    _text("state"),
    _text("created_by"),
    _text("created_by_rule", optional=True),
    _instant("created_at"),
    _instant("accepted_at", optional=True),
    _json("touched_by"),
)

bindings = Table(
    "bindings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    _text("issuer"),
    _json("claims"),
    _text("claims_digest"),
    _text("created_by"),
    _instant("created_at"),
    UniqueConstraint("issuer", "claims_digest"),
    Index("ix_bindings_agent_id", "agent_id"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    _text("owner"),
    _text("purpose"),
    _json("scopes"),
    _text("starter_jkt"),
    _instant("started_at"),
    _instant("deadline_at"),
    _text("state"),
    _instant("ended_at", optional=True),
    _text("end_reason", optional=True),
    _text("decision_id", optional=True),
    _text("on_behalf_of", optional=True),
    _text("parent_id", optional=True),
    _text("issuer", optional=True),
    Column("heartbeat_seconds", Integer, nullable=True),
    _instant("silent_at", optional=True),
    Column("beat_fence", BigInteger, nullable=False, server_default=text("0")),
    Column("ancestors", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("max_credentials", Integer, nullable=True),
    _text("delegation_id", optional=True),
    Index(
        "ix_tasks_open_child",
        "parent_id",
        postgresql_where=text("state = 'open' AND parent_id IS NOT NULL"),
    ),
    Index("ix_tasks_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    Index("ix_tasks_open_silent", "silent_at", postgresql_where=text("state = 'open'")),
    Index("ix_tasks_open_deadline", "deadline_at", postgresql_where=text("state = 'open'")),
    Index("ix_tasks_agent_id", "agent_id"),
    Index("ix_tasks_owner", "owner", "id"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("task_id", Text, ForeignKey("tasks.id"), primary_key=True),
    Column("max_credentials", Integer, nullable=False),
    Column("spent", Integer, nullable=False),
    CheckConstraint("spent BETWEEN 0 AND max_credentials", name="within"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Text, primary_key=True),
    _text("outcome"),
    _json("rules"),
    _text("policy_hash"),
    _text("catalogue_digest"),
    _json("recorded_input"),
    _json("needs"),
    Column("max_ttl_seconds", Integer, nullable=True),
    _text("problem", optional=True),
    _instant("at"),
)

grants = Table(
    "grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("task_id", Text, ForeignKey("tasks.id"), nullable=False),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    _text("scope"),
    _text("ask_hash"),
    _text("idempotency_key"),
    _text("state"),
    Column("requested_ttl_seconds", Integer, nullable=False),
    Column("granted_ttl_seconds", Integer, nullable=False),
    _text("cut_by"),
    _text("requester_jkt"),
    _text("decision_id"),
    _instant("created_at"),
    _instant("waits_until"),
    _text("reason"),
    _json("needs"),
    _json("shown", optional=True),
    _text("shown_hash", optional=True),
    _text("refusal_code", optional=True),
    _text("lease_id", optional=True),
    Column("generation", Integer, nullable=False),
    Column("renewable_for_seconds", Integer, nullable=True),
    _json("seal_to", optional=True),
    UniqueConstraint("task_id", "idempotency_key"),
    Index(
        "ix_grants_undecided",
        "waits_until",
        postgresql_where=text("state IN ('waiting', 'approved')"),
    ),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("grant_id", Text, ForeignKey("grants.id"), nullable=False),
    _text("approver"),
    _json("groups"),
    _text("verdict"),
    _text("shown_hash"),
    _instant("logged_in_at"),
    _instant("at"),
    UniqueConstraint("grant_id", "approver"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("grant_id", Text, ForeignKey("grants.id"), nullable=True),
    Column("task_id", Text, ForeignKey("tasks.id"), nullable=True),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=True),
    _text("owner"),
    _text("target"),
    _text("scope"),
    _text("catalogue_digest"),
    _text("minter"),
    _json("handle"),
    _text("end_class"),
    _text("state"),
    Column("fence", BigInteger, nullable=False),
    Column("requested_ttl_seconds", Integer, nullable=False),
    Column("granted_ttl_seconds", Integer, nullable=False),
    _text("cut_by"),
    _instant("created_at"),
    _instant("mint_until"),
    _instant("second_tap_at"),
    _instant("due_at", optional=True),
    _instant("expires_at"),
    _instant("backend_expires_at"),
    _instant("activated_at", optional=True),
    _text("back_ref", optional=True),
    _json("fingerprints"),
    Column("tries", Integer, nullable=False),
    _text("last_error", optional=True),
    _text("end_reason", optional=True),
    _instant("ending_since", optional=True),
    _instant("ended_at", optional=True),
    _text("proof", optional=True),
    Column("seen_outside", Boolean, nullable=False),
    Column("renewable_for_seconds", Integer, nullable=True),
    _instant("renewable_until", optional=True),
    Column("renewals", Integer, nullable=False, server_default=text("0")),
    _instant("ack_by", optional=True),
    _instant("acknowledged_at", optional=True),
    _instant("fenced_at", optional=True),
    _instant("denied_at", optional=True),
    _text("denied_how", optional=True),
    _text("place", optional=True),
    _text("written_off_by", optional=True),
    _text("written_off_reason", optional=True),
    CheckConstraint(
        "proof IS DISTINCT FROM 'written_off' OR"
        " (written_off_by IS NOT NULL AND written_off_reason IS NOT NULL)",
        name="written_off_by_somebody",
    ),
    CheckConstraint("(state = 'ended') = (proof IS NOT NULL)", name="ended_has_proof"),
    CheckConstraint("(state = 'ended') = (due_at IS NULL)", name="unended_is_due"),
    CheckConstraint(
        "state IN ('minting', 'active', 'ending', 'stuck', 'ended')", name="known_state"
    ),
    Index("ix_leases_due", "due_at", postgresql_where=text("state <> 'ended'")),
    Index("ix_leases_ended_at", "ended_at", postgresql_where=text("state = 'ended'")),
    Index("ix_leases_live_target", "target", postgresql_where=text("state <> 'ended'")),
    Index("ix_leases_live_agent", "agent_id", "task_id", postgresql_where=text("state <> 'ended'")),
    Index(
        "ix_leases_unended_place",
        "place",
        postgresql_where=text("place IS NOT NULL AND state <> 'ended'"),
    ),
    Index("ix_leases_task_id", "task_id"),
    Index("ix_leases_grant_id", "grant_id"),
    Index("ix_leases_agent_id", "agent_id", "id"),
    Index("ix_leases_owner", "owner", "id"),
)

cuts = Table(
    "cuts",
    metadata,
    Column("place", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    _instant("at"),
    _json("lease_ids"),
    _instant("made_before", optional=True),
    _instant("until", optional=True),
    _instant("prune_at", optional=True),
    _instant("looked_at"),
)

fingerprints = Table(
    "fingerprints",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("lease_id", Text, ForeignKey("leases.id"), primary_key=True),
)

kills = Table(
    "kills",
    metadata,
    Column("id", Text, primary_key=True),
    _text("height"),
    _text("subject"),
    _text("reason"),
    _text("by"),
    _instant("at"),
    _instant("released_at", optional=True),
    _text("released_by", optional=True),
    Index("ix_kills_in_force", "height", postgresql_where=text("released_at IS NULL")),
)

facts = Table(
    "facts",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    _text("kind"),
    _text("by"),
    _text("outcome"),
    _text("agent_id", optional=True),
    _text("owner", optional=True),
    _text("task_id", optional=True),
    _text("grant_id", optional=True),
    _text("lease_id", optional=True),
    _text("target", optional=True),
    _text("decision_id", optional=True),
    _json("body"),
    Index("ix_facts_agent_id", "agent_id", "number"),
    Index("ix_facts_task_id", "task_id", "number"),
    Index("ix_facts_lease_id", "lease_id", "number"),
    Index("ix_facts_owner", "owner", "number"),
    Index("ix_facts_target", "target", "number"),
    Index("ix_facts_outcome", "outcome", "number"),
    Index("ix_facts_grant_id", "grant_id", "number"),
    Index("ix_facts_kind", "kind", "number"),
    Index("ix_facts_at", "at"),
)

tallies = Table(
    "tallies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=True),
    _text("word", optional=True),
    Column("coming_number", BigInteger, nullable=True),
    _text("coming_word", optional=True),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    _text("owner"),
    _json("boundary"),
    _json("bindings"),
    _text("base"),
    _text("rule"),
    _text("created_by"),
    _instant("created_at"),
    _text("state"),
    _text("decided_by", optional=True),
    _instant("decided_at", optional=True),
    _json("was", optional=True),
    Index("ix_proposals_owner", "owner", "id"),
    Index(
        "ix_proposals_open",
        "agent_id",
        unique=True,
        postgresql_where=text("state IN ('refused', 'waiting')"),
    ),
)

sealed_answers = Table(
    "sealed_answers",
    metadata,
    Column("lease_id", Text, ForeignKey("leases.id"), primary_key=True),
    _text("sealed"),
    _instant("until"),
)

REVOKED = "revoked"
"""The slot of tokens that were revoked; their `jti` is the key."""

uses = Table(
    "uses",
    metadata,
    Column("slot", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _text("jkt"),
    _instant("until"),
    Index("ix_uses_until", "until"),
)

buckets = Table(
    "buckets",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("tokens", Double, nullable=False),
    _instant("at"),
    prefixes=["UNLOGGED"],
)
