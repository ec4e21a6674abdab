"""Lives that are renewed, acknowledged, fenced, denied or written off.

Only columns with no value or a constant one, and a check that no row of before could break.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LEASES = {
    "renewable_for_seconds": "INTEGER",
    "renewable_until": "TIMESTAMP WITH TIME ZONE",
    "renewals": "INTEGER NOT NULL DEFAULT 0",
    "ack_by": "TIMESTAMP WITH TIME ZONE",
    "acknowledged_at": "TIMESTAMP WITH TIME ZONE",
    "fenced_at": "TIMESTAMP WITH TIME ZONE",
    "denied_at": "TIMESTAMP WITH TIME ZONE",
    "written_off_by": "TEXT",
    "written_off_reason": "TEXT",
}
SOMEBODY = """proof IS DISTINCT FROM 'written_off' OR
(written_off_by IS NOT NULL AND written_off_reason IS NOT NULL)"""


def upgrade() -> None:
    """Add columns and a check of what is written from now on: neither takes time."""
    op.execute("ALTER TABLE grants ADD COLUMN IF NOT EXISTS renewable_for_seconds INTEGER")
    for name, kind in LEASES.items():
        op.execute(f"ALTER TABLE leases ADD COLUMN IF NOT EXISTS {name} {kind}")
    op.execute(
        "ALTER TABLE leases ADD CONSTRAINT ck_leases_written_off_by_somebody"
        f" CHECK ({SOMEBODY}) NOT VALID"
    )


def downgrade() -> None:
    """Forget them."""
    op.execute("ALTER TABLE leases DROP CONSTRAINT ck_leases_written_off_by_somebody")
    for name in LEASES:
        op.execute(f"ALTER TABLE leases DROP COLUMN {name}")
    op.execute("ALTER TABLE grants DROP COLUMN renewable_for_seconds")
