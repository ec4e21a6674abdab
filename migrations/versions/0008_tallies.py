"""Tallies: what our database knows of the notes that its witnesses hold.

A new table beside the others; a replica of the version before neither reads nor needs it.
"""

from __future__ import annotations

from alembic import context, op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE tallies (
    name TEXT NOT NULL,
    number BIGINT,
    word TEXT,
    coming_number BIGINT,
    coming_word TEXT,
    CONSTRAINT pk_tallies PRIMARY KEY (name)
)
"""


def upgrade() -> None:
    """Make it, for the application to keep."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(TABLE)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON tallies TO "{app}"')


def downgrade() -> None:
    """Forget them: the next tally is then the first, and the witness is in doubt."""
    op.execute("DROP TABLE tallies")
