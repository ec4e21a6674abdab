"""Kills by issuer, their progress, and tasks that live by a heartbeat.

Open tasks whose agent is bound under one issuer only are given it, so that a kill of that issuer
covers them too; of the others only those that start after this are covered.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BOUND_ONCE = """
UPDATE tasks SET issuer = bound.issuer
FROM (
    SELECT agent_id, min(issuer) AS issuer FROM bindings
    GROUP BY agent_id HAVING count(DISTINCT issuer) = 1
) AS bound
WHERE bound.agent_id = tasks.agent_id AND tasks.state = 'open'
"""


COLUMNS = {
    "issuer": "TEXT",
    "heartbeat_seconds": "INTEGER",
    "silent_at": "TIMESTAMP WITH TIME ZONE",
    "beat_fence": "BIGINT NOT NULL DEFAULT 0",
}
INDEXES = {
    "ix_tasks_open_silent": "tasks (silent_at) WHERE state = 'open'",
    "ix_leases_ended_at": "leases (ended_at) WHERE state = 'ended'",
}


def upgrade() -> None:
    """Add columns, which takes no time, then indexes beside all work; it may be tried again."""
    for name, kind in COLUMNS.items():
        op.execute(f"ALTER TABLE tasks ADD COLUMN IF NOT EXISTS {name} {kind}")
    op.execute(BOUND_ONCE)
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")


def downgrade() -> None:
    """Forget who started tasks by which issuer, and their heartbeats."""
    op.execute("DROP INDEX ix_leases_ended_at")
    for name in COLUMNS:
        op.execute(f"ALTER TABLE tasks DROP COLUMN {name}")
