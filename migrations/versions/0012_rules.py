"""Versions of catalogue and policies, which of them came into force when, and which wait.

New tables beside the others; a replica of the version before neither reads nor needs them. The
application adds to the list of activations and never changes it.
"""

from __future__ import annotations

from alembic import context, op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE rules_versions (
    digest TEXT NOT NULL,
    files JSONB NOT NULL,
    catalogue_digest TEXT NOT NULL,
    policy_hash TEXT NOT NULL,
    pushed_by TEXT NOT NULL,
    rule TEXT,
    pushed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT pk_rules_versions PRIMARY KEY (digest)
);
CREATE TABLE rules_activations (
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,
    cause TEXT NOT NULL,
    by TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_rules_activations PRIMARY KEY (number),
    CONSTRAINT fk_rules_activations_digest_rules_versions
        FOREIGN KEY (digest) REFERENCES rules_versions (digest)
);
CREATE INDEX ix_rules_activations_digest ON rules_activations (digest);
CREATE TABLE rules_proposals (
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    base TEXT NOT NULL,
    rule TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_at TIMESTAMPTZ,
    CONSTRAINT pk_rules_proposals PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_rules_proposals_open ON rules_proposals (rule)
    WHERE state IN ('refused', 'waiting')
"""


def upgrade() -> None:
    """Make them; what was in force stays on the list."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(TABLES)
    op.execute(f'GRANT SELECT, INSERT, DELETE ON rules_versions TO "{app}"')
    op.execute(f'GRANT SELECT, INSERT ON rules_activations TO "{app}"')
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON rules_proposals TO "{app}"')


def downgrade() -> None:
    """Forget them: the rules are read from files again."""
    op.execute("DROP TABLE rules_proposals")
    op.execute("DROP TABLE rules_activations")
    op.execute("DROP TABLE rules_versions")
