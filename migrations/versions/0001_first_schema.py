"""The first schema: agents to leases, facts that are only added to, and who may do what."""

from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE agents (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    team TEXT NOT NULL,
    environment TEXT NOT NULL,
    labels JSONB NOT NULL,
    boundary JSONB NOT NULL,
    state TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_by_rule TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    accepted_at TIMESTAMP WITH TIME ZONE,
    touched_by JSONB NOT NULL,
    CONSTRAINT pk_agents PRIMARY KEY (id),
    CONSTRAINT uq_agents_name UNIQUE (name)
);

CREATE TABLE decisions (
    id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    rules JSONB NOT NULL,
    policy_hash TEXT NOT NULL,
    catalogue_digest TEXT NOT NULL,
    recorded_input JSONB NOT NULL,
    needs JSONB NOT NULL,
    max_ttl_seconds INTEGER,
    problem TEXT,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_decisions PRIMARY KEY (id)
);

CREATE TABLE facts (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    kind TEXT NOT NULL,
    by TEXT NOT NULL,
    outcome TEXT NOT NULL,
    agent_id TEXT,
    owner TEXT,
    task_id TEXT,
    grant_id TEXT,
    lease_id TEXT,
    target TEXT,
    decision_id TEXT,
    body JSONB NOT NULL,
    CONSTRAINT pk_facts PRIMARY KEY (number)
);

CREATE INDEX ix_facts_agent_id ON facts (agent_id, number);

CREATE INDEX ix_facts_at ON facts (at);

CREATE INDEX ix_facts_lease_id ON facts (lease_id, number);

CREATE INDEX ix_facts_outcome ON facts (outcome, number);

CREATE INDEX ix_facts_grant_id ON facts (grant_id, number);

CREATE INDEX ix_facts_kind ON facts (kind, number);

CREATE INDEX ix_facts_owner ON facts (owner, number);

CREATE INDEX ix_facts_target ON facts (target, number);

CREATE INDEX ix_facts_task_id ON facts (task_id, number);

CREATE TABLE installation (
    singleton BOOLEAN NOT NULL,
    id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_installation PRIMARY KEY (singleton),
    CONSTRAINT ck_installation_only_one CHECK (singleton)
);

CREATE TABLE kills (
    id TEXT NOT NULL,
    height TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    by TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    released_at TIMESTAMP WITH TIME ZONE,
    released_by TEXT,
    CONSTRAINT pk_kills PRIMARY KEY (id)
);

CREATE INDEX ix_kills_in_force ON kills (height) WHERE released_at IS NULL;

CREATE TABLE uses (
    slot TEXT NOT NULL,
    key TEXT NOT NULL,
    jkt TEXT NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_uses PRIMARY KEY (slot, key)
);

CREATE INDEX ix_uses_until ON uses (until);

CREATE TABLE bindings (
    id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    claims JSONB NOT NULL,
    claims_digest TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_bindings PRIMARY KEY (id),
    CONSTRAINT uq_bindings_issuer_claims_digest UNIQUE (issuer, claims_digest),
    CONSTRAINT fk_bindings_agent_id_agents FOREIGN KEY(agent_id) REFERENCES agents (id)
);

CREATE INDEX ix_bindings_agent_id ON bindings (agent_id);

CREATE TABLE tasks (
    id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    scopes JSONB NOT NULL,
    starter_jkt TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deadline_at TIMESTAMP WITH TIME ZONE NOT NULL,
    state TEXT NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    end_reason TEXT,
    decision_id TEXT,
    on_behalf_of TEXT,
    parent_id TEXT,
    CONSTRAINT pk_tasks PRIMARY KEY (id),
    CONSTRAINT fk_tasks_agent_id_agents FOREIGN KEY(agent_id) REFERENCES agents (id)
);

CREATE INDEX ix_tasks_agent_id ON tasks (agent_id);

CREATE INDEX ix_tasks_owner ON tasks (owner, id);

CREATE INDEX ix_tasks_open_deadline ON tasks (deadline_at) WHERE state = 'open';

CREATE TABLE grants (
    id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    ask_hash TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    state TEXT NOT NULL,
    requested_ttl_seconds INTEGER NOT NULL,
    granted_ttl_seconds INTEGER NOT NULL,
    cut_by TEXT NOT NULL,
    requester_jkt TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    waits_until TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    needs JSONB NOT NULL,
    shown JSONB,
    shown_hash TEXT,
    refusal_code TEXT,
    lease_id TEXT,
    generation INTEGER NOT NULL,
    CONSTRAINT pk_grants PRIMARY KEY (id),
    CONSTRAINT uq_grants_task_id_idempotency_key UNIQUE (task_id, idempotency_key),
    CONSTRAINT fk_grants_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id),
    CONSTRAINT fk_grants_agent_id_agents FOREIGN KEY(agent_id) REFERENCES agents (id)
);

CREATE INDEX ix_grants_undecided ON grants (waits_until) WHERE state IN ('waiting', 'approved');

CREATE TABLE approvals (
    id TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    approver TEXT NOT NULL,
    groups JSONB NOT NULL,
    verdict TEXT NOT NULL,
    shown_hash TEXT NOT NULL,
    logged_in_at TIMESTAMP WITH TIME ZONE NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_approvals PRIMARY KEY (id),
    CONSTRAINT uq_approvals_grant_id_approver UNIQUE (grant_id, approver),
    CONSTRAINT fk_approvals_grant_id_grants FOREIGN KEY(grant_id) REFERENCES grants (id)
);

CREATE TABLE leases (
    id TEXT NOT NULL,
    grant_id TEXT,
    task_id TEXT,
    agent_id TEXT,
    owner TEXT NOT NULL,
    target TEXT NOT NULL,
    scope TEXT NOT NULL,
    catalogue_digest TEXT NOT NULL,
    minter TEXT NOT NULL,
    handle JSONB NOT NULL,
    end_class TEXT NOT NULL,
    state TEXT NOT NULL,
    fence BIGINT NOT NULL,
    requested_ttl_seconds INTEGER NOT NULL,
    granted_ttl_seconds INTEGER NOT NULL,
    cut_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    mint_until TIMESTAMP WITH TIME ZONE NOT NULL,
    second_tap_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    backend_expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    activated_at TIMESTAMP WITH TIME ZONE,
    back_ref TEXT,
    fingerprints JSONB NOT NULL,
    tries INTEGER NOT NULL,
    last_error TEXT,
    end_reason TEXT,
    ending_since TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    proof TEXT,
    seen_outside BOOLEAN NOT NULL,
    CONSTRAINT pk_leases PRIMARY KEY (id),
    CONSTRAINT ck_leases_ended_has_proof CHECK ((state = 'ended') = (proof IS NOT NULL)),
    CONSTRAINT ck_leases_unended_is_due CHECK ((state = 'ended') = (due_at IS NULL)),
    CONSTRAINT ck_leases_known_state CHECK (state IN ('minting', 'active', 'ending', 'stuck', 'ended')),
    CONSTRAINT fk_leases_grant_id_grants FOREIGN KEY(grant_id) REFERENCES grants (id),
    CONSTRAINT fk_leases_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id),
    CONSTRAINT fk_leases_agent_id_agents FOREIGN KEY(agent_id) REFERENCES agents (id)
);

CREATE INDEX ix_leases_agent_id ON leases (agent_id, id);

CREATE INDEX ix_leases_owner ON leases (owner, id);

CREATE INDEX ix_leases_due ON leases (due_at) WHERE state <> 'ended';

CREATE INDEX ix_leases_grant_id ON leases (grant_id);

CREATE INDEX ix_leases_live_target ON leases (target) WHERE state <> 'ended';

CREATE INDEX ix_leases_task_id ON leases (task_id)
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN RAISE EXCEPTION 'facts are only added to' USING ERRCODE = '42501'; END $body$;

CREATE TRIGGER facts_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON facts
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO "{app}";
GRANT SELECT, INSERT ON facts, decisions, approvals TO "{app}";
GRANT SELECT, INSERT, UPDATE ON agents, bindings, tasks, grants, leases, kills TO "{app}";
GRANT SELECT, INSERT, DELETE ON uses TO "{app}";
GRANT SELECT ON installation, alembic_version TO "{app}";
"""

CLAIM = """
INSERT INTO installation (singleton, id, epoch, created_at)
SELECT true, string_agg(substr('abcdghijklmnopqrstuv', 1 + floor(random() * 20)::int, 1), ''),
       1, clock_timestamp()
FROM generate_series(1, 6)
"""


def upgrade() -> None:
    """Make every table, and let the application role do no more than it needs."""
    app = context.config.attributes.get("app_role", "valetkey_app")
    for group in (TABLES, GRANTS.format(app=app)):
        for statement in group.split(";\n"):
            if statement.strip():
                op.execute(statement)
    function, trigger = APPEND_ONLY.strip().split(";\n\n")
    op.execute(function)
    op.execute(trigger)
    op.execute(CLAIM)


def downgrade() -> None:
    """Drop all of it; there is no older schema."""
    for table in ("leases", "approvals", "grants", "tasks", "bindings", "uses", "kills", "installation", "facts", "decisions", "agents"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_change")
