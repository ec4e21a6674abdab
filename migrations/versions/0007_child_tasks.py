"""Tasks under tasks, and how many credentials a task may be given in all."""

from alembic import context, op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = {
    "ancestors": "TEXT[] NOT NULL DEFAULT '{}'",
    "max_credentials": "INTEGER",
}
BUDGETS = """
CREATE TABLE IF NOT EXISTS budgets (
    task_id TEXT CONSTRAINT pk_budgets PRIMARY KEY
        CONSTRAINT fk_budgets_task_id_tasks REFERENCES tasks (id),
    max_credentials INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    CONSTRAINT ck_budgets_within CHECK (spent BETWEEN 0 AND max_credentials)
)
"""
INDEXES = {
    "ix_tasks_open_child": "tasks (parent_id) WHERE state = 'open' AND parent_id IS NOT NULL",
    "ix_tasks_parent_id": "tasks (parent_id) WHERE parent_id IS NOT NULL",
}


def upgrade() -> None:
    """Add columns and a table, which takes no time, then indexes beside all work."""
    for name, kind in COLUMNS.items():
        op.execute(f"ALTER TABLE tasks ADD COLUMN IF NOT EXISTS {name} {kind}")
    op.execute(BUDGETS)
    role = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(f'GRANT SELECT, INSERT, UPDATE (spent) ON budgets TO "{role}"')
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")


def downgrade() -> None:
    """Forget who stands under whom, and the budgets."""
    op.execute("DROP TABLE budgets")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    for name in COLUMNS:
        op.execute(f"ALTER TABLE tasks DROP COLUMN {name}")
