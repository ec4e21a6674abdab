"""Databases full of live leases, written straight into them: copies of the broker's own."""

from __future__ import annotations

from bench.ground import Ground, sqlalchemy_url
from bench.growth.filling import Eyes, variant
from bench.served import provide_agent
from valetkey.devstack import orders

COLUMNS = (
    "id, owner, target, scope, catalogue_digest, minter, handle, end_class, state, fence,"
    " requested_ttl_seconds, granted_ttl_seconds, cut_by, created_at, mint_until, second_tap_at,"
    " due_at, expires_at, backend_expires_at, activated_at, fingerprints, tries, seen_outside"
)
HANDLE = """jsonb_build_object('minter', 'signed-token', 'target', 'reports-api',
    'name', 'vk-filled-' || n, 'where', jsonb_build_object('introspects', 'yes'))"""
FILL = f"""
INSERT INTO leases ({COLUMNS})
SELECT 'lease_' || lpad(n::text, 26, '0'), 'owner' || n % 997 || '@example.com', 'reports-api',
    'reports-api:export{{{{report=daily}}}}', 'digest', 'signed-token', {HANDLE}, 'confirmed',
    'active', 1, 28800, 28800, 'asked', now(), now(), now(), at, at, at + interval '1 hour', now(),
    '[]', 0, true
FROM generate_series(1, {{count}}) AS n,
    LATERAL (SELECT now() + make_interval(hours => 8, secs => hashint8(n) % 14400)) AS due(at)
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_leases_%'"
FACTS = """
INSERT INTO facts (kind, by, outcome, lease_id, target, body)
SELECT 'LeaseActive', 'bench', 'allow', id, target, jsonb_build_object('state', state)
FROM leases
"""


class Filled:
    """A copy with that many live leases; dropped when the context is left."""

    def __init__(self, ground: Ground, name: str, count: int) -> None:
        self.ground, self.name, self.count = ground, name, count
        self.eyes = Eyes(ground)

    def __enter__(self) -> Filled:
        provide_agent(self.ground)
        self.eyes.do(
            f"CREATE DATABASE {self.name} TEMPLATE valetkey OWNER {orders.OWNER}",
            f"GRANT CONNECT ON DATABASE {self.name} TO {orders.APP}",
            f"ALTER DATABASE {self.name} SET maintenance_work_mem = '1GB'",
            database="postgres",
        )
        kept = dict(self.eyes.rows(INDEXES, database=self.name))
        self.do(*(f"DROP INDEX {index}" for index in kept))
        self.do(FILL.format(count=self.count), *kept.values(), "VACUUM ANALYZE leases")
        return self

    def __exit__(self, *_: object) -> None:
        self.eyes.do(f"DROP DATABASE {self.name} WITH (FORCE)", database="postgres")

    def do(self, *statements: str) -> None:
        """Run statements in it, as superuser."""
        self.eyes.do(*statements, database=self.name)

    def url(self) -> str:
        """Its address as the application."""
        return sqlalchemy_url(self.ground.stack.postgres.dsn(self.name, orders.APP))

    def settings(self) -> str:
        """The name of the settings of a broker on it."""
        (self.ground.folder / f"{self.name}.url").write_text(self.url())
        return variant(self.ground, self.name, database__url_file=f"{self.name}.url")
