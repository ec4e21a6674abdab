"""Proposals: what jobs would widen about agents, for people to decide; and the end of a binding.

A new table beside the others; a replica of the version before neither reads nor needs it.
"""

from __future__ import annotations

from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE proposals (
    id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    boundary JSONB NOT NULL,
    bindings JSONB NOT NULL,
    base TEXT NOT NULL,
    rule TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_at TIMESTAMPTZ,
    CONSTRAINT pk_proposals PRIMARY KEY (id),
    CONSTRAINT fk_proposals_agent_id_agents FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE INDEX ix_proposals_owner ON proposals (owner, id);
CREATE UNIQUE INDEX ix_proposals_open ON proposals (agent_id)
    WHERE state IN ('refused', 'waiting')
"""


def upgrade() -> None:
    """Make it, for the application to keep; and let that forget bindings."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(TABLE)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON proposals TO "{app}"')
    op.execute(f'GRANT DELETE ON bindings TO "{app}"')


def downgrade() -> None:
    """Forget them: what waited was never given."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(f'REVOKE DELETE ON bindings FROM "{app}"')
    op.execute("DROP TABLE proposals")
