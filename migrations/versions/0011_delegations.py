"""Delegations: what people let agents do for them, and the tasks that rest on one.

A new table, and a column that a replica of the version before neither reads nor writes: a task
that it opens under such a task rests on it through its root.
"""

from __future__ import annotations

from alembic import context, op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE IF NOT EXISTS delegations (
    id TEXT NOT NULL,
    principal TEXT NOT NULL,
    email TEXT NOT NULL,
    groups JSONB NOT NULL,
    agent_id TEXT NOT NULL,
    scopes JSONB NOT NULL,
    given_at TIMESTAMPTZ NOT NULL,
    until TIMESTAMPTZ NOT NULL,
    source TEXT NOT NULL,
    withdrawn_at TIMESTAMPTZ,
    withdrawn_by TEXT,
    CONSTRAINT pk_delegations PRIMARY KEY (id),
    CONSTRAINT fk_delegations_agent_id_agents FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE INDEX IF NOT EXISTS ix_delegations_principal ON delegations (principal, id);
CREATE INDEX IF NOT EXISTS ix_delegations_email ON delegations (email, id);
CREATE INDEX IF NOT EXISTS ix_delegations_agent_id ON delegations (agent_id, id)
"""
INDEXES = {
    "ix_tasks_delegation_id": "tasks (delegation_id) WHERE delegation_id IS NOT NULL",
    "ix_tasks_on_behalf_of": "tasks (on_behalf_of, id) WHERE on_behalf_of IS NOT NULL",
}


def upgrade() -> None:
    """Make table and column, which takes no time, then indexes beside all work."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(TABLE)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON delegations TO "{app}"')
    op.execute("ALTER TABLE tasks ADD COLUMN IF NOT EXISTS delegation_id TEXT")
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")


def downgrade() -> None:
    """Forget them, and which tasks rest on one."""
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("ALTER TABLE tasks DROP COLUMN delegation_id")
    op.execute("DROP TABLE delegations")
