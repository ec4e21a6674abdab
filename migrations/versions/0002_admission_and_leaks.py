"""Ceilings of live leases, buckets of requests, and leases by fingerprint.

Everything here is added beside what is there: a replica of the version before works on, and what
it mints is found by its fingerprint too, because a trigger of ours keeps that table.
"""

from __future__ import annotations

from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LIVE = "ix_leases_live_agent"

TABLES = """
CREATE UNLOGGED TABLE buckets (
    principal TEXT NOT NULL,
    tokens DOUBLE PRECISION NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_buckets PRIMARY KEY (principal)
) WITH (fillfactor = 50);

CREATE TABLE fingerprints (
    fingerprint TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    CONSTRAINT pk_fingerprints PRIMARY KEY (fingerprint, lease_id),
    CONSTRAINT fk_fingerprints_lease_id_leases FOREIGN KEY(lease_id) REFERENCES leases (id)
)
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON buckets TO "{app}";
GRANT SELECT, INSERT ON fingerprints TO "{app}"
"""

KEEP_FINGERPRINTS = """
CREATE FUNCTION keep_fingerprints() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    INSERT INTO fingerprints (fingerprint, lease_id)
    SELECT part, NEW.id FROM jsonb_array_elements_text(NEW.fingerprints) AS part
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $body$
"""

TRIGGERS = """
CREATE TRIGGER fingerprints_of_new AFTER INSERT ON leases
FOR EACH ROW WHEN (NEW.fingerprints <> '[]'::jsonb) EXECUTE FUNCTION keep_fingerprints();

CREATE TRIGGER fingerprints_of_changed AFTER UPDATE OF fingerprints ON leases
FOR EACH ROW WHEN (OLD.fingerprints <> NEW.fingerprints) EXECUTE FUNCTION keep_fingerprints()
"""

BACKFILL = """
INSERT INTO fingerprints (fingerprint, lease_id)
SELECT part, leases.id
FROM leases, jsonb_array_elements_text(leases.fingerprints) AS part
ON CONFLICT DO NOTHING
"""

# The first of four ceilings that one more lease would go beyond, NULL when there is room for it;
# that room is kept until the transaction ends.
#
# Whoever counts holds four locks: shared, as long as the count and everybody who might add at the
# same moment (no more than there can be connections) stay below the ceiling; alone, once they do
# not. Nobody waits for anybody far from a ceiling, and none is passed. The locks come in one order;
# a shared lock is given back, by undoing the block that took it, before it is taken alone.
# Each statement of a volatile function sees what was committed when it began (manual, 36.7), so
# the counts, which come after the locks, see what those sharing them before have committed.
CEILING_REACHED = """
CREATE FUNCTION ceiling_reached(this_agent text, this_task text, this_target text, most bigint[])
RETURNS text LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    kinds CONSTANT text[] := ARRAY['all', 'target', 'agent', 'task'];
    subjects CONSTANT text[] := ARRAY['', this_target, this_agent, this_task];
    others CONSTANT bigint := current_setting('max_connections')::bigint;
    alone boolean[] := ARRAY[most[1] <= others, most[2] <= others, most[3] <= others,
                             most[4] <= others];
    live bigint[];
    again boolean;
BEGIN
    LOOP
        BEGIN
            FOR kind IN 1..4 LOOP
                IF alone[kind] THEN
                    PERFORM pg_advisory_xact_lock(5655808 + kind, hashtext(subjects[kind]));
                ELSE
                    PERFORM pg_advisory_xact_lock_shared(5655808 + kind, hashtext(subjects[kind]));
                END IF;
            END LOOP;
            live := ARRAY[
                (SELECT count(*) FROM (
                    SELECT FROM leases WHERE state <> 'ended' LIMIT most[1]) AS unended),
                (SELECT count(*) FROM (
                    SELECT FROM leases WHERE state <> 'ended' AND target = this_target
                    LIMIT most[2]) AS unended),
                (SELECT count(*) FROM (
                    SELECT FROM leases WHERE state <> 'ended' AND agent_id = this_agent
                    LIMIT most[3]) AS unended),
                (SELECT count(*) FROM (
                    SELECT FROM leases WHERE state <> 'ended' AND agent_id = this_agent
                    AND task_id = this_task LIMIT most[4]) AS unended)
            ];
            again := false;
            FOR kind IN 1..4 LOOP
                IF alone[kind] AND live[kind] >= most[kind] THEN
                    RETURN kinds[kind];
                ELSIF NOT alone[kind] AND live[kind] + others >= most[kind] THEN
                    alone[kind] := true;
                    again := true;
                END IF;
            END LOOP;
            IF NOT again THEN
                RETURN NULL;
            END IF;
            RAISE SQLSTATE 'VK001';
        EXCEPTION WHEN SQLSTATE 'VK001' THEN
            again := true;
        END;
    END LOOP;
END $body$
"""


def upgrade() -> None:
    """Index first, without keeping anybody waiting, and so that it may be tried again."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {LIVE}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {LIVE} ON leases (agent_id, task_id)"
            " WHERE state <> 'ended'"
        )
    app = context.config.attributes.get("app_role", "valetkey_app")
    op.execute(KEEP_FINGERPRINTS)
    for group in (TABLES, GRANTS.format(app=app), TRIGGERS):
        for statement in group.split(";\n"):
            op.execute(statement)
    op.execute(BACKFILL)
    op.execute(CEILING_REACHED)


def downgrade() -> None:
    """Take all of it away."""
    op.execute("DROP FUNCTION ceiling_reached")
    op.execute("DROP TRIGGER fingerprints_of_changed ON leases")
    op.execute("DROP TRIGGER fingerprints_of_new ON leases")
    op.execute("DROP FUNCTION keep_fingerprints")
    for table in ("fingerprints", "buckets"):
        op.execute(f"DROP TABLE {table}")
    op.execute(f"DROP INDEX {LIVE}")
