"""The application adds facts and no longer says when they happened, or as which number.

Nothing is rewritten; a replica of the version before adds the very columns granted here.
"""

from __future__ import annotations

from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SAID = "kind, by, outcome, agent_id, owner, task_id, grant_id, lease_id, target, decision_id, body"


def upgrade() -> None:
    """Column by column: `number` and `at` are the database's."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(f'REVOKE INSERT ON facts FROM "{app}"')
    op.execute(f'GRANT INSERT ({SAID}) ON facts TO "{app}"')


def downgrade() -> None:
    """Back to the whole row."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(f'GRANT INSERT ON facts TO "{app}"')
