"""Cuts: what a back end is told to refuse until it ends by itself, one list for each place."""

from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE IF NOT EXISTS cuts (
    place TEXT NOT NULL,
    generation BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    lease_ids JSONB NOT NULL,
    made_before TIMESTAMP WITH TIME ZONE,
    until TIMESTAMP WITH TIME ZONE,
    prune_at TIMESTAMP WITH TIME ZONE,
    looked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_cuts PRIMARY KEY (place)
)
"""
PLACE = "ix_leases_unended_place"


def upgrade() -> None:
    """Two columns without a value, a table, and an index made beside all work.

    The check that 0005 left to be looked at for older rows is looked at now, beside work too.
    """
    app = context.config.attributes.get("app_role", "valetkey_app")
    for name in ("place", "denied_how"):
        op.execute(f"ALTER TABLE leases ADD COLUMN IF NOT EXISTS {name} TEXT")
    op.execute(TABLE)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON cuts TO "{app}"')
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE leases VALIDATE CONSTRAINT ck_leases_written_off_by_somebody")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {PLACE}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {PLACE} ON leases (place)"
            " WHERE place IS NOT NULL AND state <> 'ended'"
        )


def downgrade() -> None:
    """Forget what is refused where."""
    op.execute(f"DROP INDEX {PLACE}")
    op.execute("DROP TABLE cuts")
    for name in ("place", "denied_how"):
        op.execute(f"ALTER TABLE leases DROP COLUMN {name}")
