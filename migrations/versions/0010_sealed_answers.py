"""Sealed answers: the key that an ask named, and ciphertext that is kept for two minutes.

A new table and a new column beside the others; a replica of the version before neither reads nor
needs them. What it is asked to collect of a sealed grant it finds void, for it shows no key.
"""

from __future__ import annotations

from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE sealed_answers (
    lease_id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    until TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_sealed_answers PRIMARY KEY (lease_id),
    CONSTRAINT fk_sealed_answers_lease_id_leases FOREIGN KEY (lease_id) REFERENCES leases (id)
)
"""


def upgrade() -> None:
    """Make them, for the application to keep and to forget."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(TABLE)
    op.execute("ALTER TABLE grants ADD COLUMN seal_to JSONB")
    op.execute(f'GRANT SELECT, INSERT, DELETE ON sealed_answers TO "{app}"')


def downgrade() -> None:
    """Forget them: what was sealed was delivered once already."""
    op.execute("ALTER TABLE grants DROP COLUMN seal_to")
    op.execute("DROP TABLE sealed_answers")
