"""What a proposal found: the boundary that the agent had when it was made.

A new column; a replica of the version before neither reads nor writes it, and rows of its making
say nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it, which takes no time."""
    op.execute("ALTER TABLE proposals ADD COLUMN was JSONB")


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE proposals DROP COLUMN was")
