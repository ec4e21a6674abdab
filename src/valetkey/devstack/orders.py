"""The SQL of the dev stack: Valetkey's own database, and `orders`, a sample target.

Every statement may be run again. In `orders` each row has a region; row-level security lets the
group roles of one region see only its rows. Group roles cannot log in. `valetkey_manager` is what
OpenBao connects as: no superuser, CREATEROLE, with the ADMIN option (and neither INHERIT nor SET)
on the group roles. `orders_inspector` may only look (pg_monitor). Nobody connects to a database
by way of PUBLIC, nor makes large objects, which need no other right: a credential that leaves more
of them than the server has locks for could never be ended.
"""

from __future__ import annotations

from collections.abc import Iterator

REGIONS = ("eu", "us")
GROUPS = tuple(f"orders_{region}_{kind}" for region in REGIONS for kind in ("reader", "writer"))
MANAGER = "valetkey_manager"
INSPECTOR = "orders_inspector"
OWNER = "valetkey_owner"
APP = "valetkey_app"
LARGE_OBJECT_MAKERS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")
EXTRA_TABLES = tuple(f"ledger_{number:02d}" for number in range(1, 21))


def roles() -> Iterator[str]:
    """Yield the statements that make the cluster's roles and what they are to each other."""
    for name in GROUPS:
        yield _make_role(name, "NOLOGIN")
    for name in (OWNER, APP, INSPECTOR):
        yield _make_role(name, "LOGIN")
    yield _make_role("orders_owner", "NOLOGIN")
    yield _make_role(MANAGER, "LOGIN CREATEROLE")
    for name in (*GROUPS, INSPECTOR):
        yield f"GRANT {name} TO {MANAGER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    yield f"GRANT pg_signal_backend TO {MANAGER}"
    yield f"GRANT pg_monitor TO {INSPECTOR}"


def _make_role(name: str, what: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') "
        f"THEN CREATE ROLE {name} {what}; END IF; END $$"
    )


def databases() -> Iterator[tuple[str, str]]:
    """Yield each database's name and owner."""
    yield "valetkey", OWNER
    yield "orders", "orders_owner"


def connect_rights() -> Iterator[str]:
    """Yield the statements that say who may connect where."""
    for database in ("postgres", "template1", "valetkey", "orders"):
        yield f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"
    yield f"GRANT CONNECT ON DATABASE valetkey TO {APP}"
    yield f"GRANT CONNECT ON DATABASE orders TO {MANAGER}, {INSPECTOR}, {', '.join(GROUPS)}"


def valetkey_schema() -> Iterator[str]:
    """Yield what Valetkey's database needs before its migrations run as the owner."""
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    yield f"ALTER SCHEMA public OWNER TO {OWNER}"
    yield f"GRANT USAGE ON SCHEMA public TO {APP}"


def orders_schema() -> Iterator[str]:
    """Yield the sample target: tables, rows, row-level security, rights of the group roles."""
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    yield "ALTER SCHEMA public OWNER TO orders_owner"
    for maker in LARGE_OBJECT_MAKERS:
        yield f"REVOKE EXECUTE ON FUNCTION pg_catalog.{maker} FROM PUBLIC"
    yield f"GRANT USAGE ON SCHEMA public TO {', '.join(GROUPS)}"
    yield from _TABLES
    yield from _rows()
    for table in ("customers", "orders", "refunds"):
        yield from _table_rights(table)
    for table in EXTRA_TABLES:
        yield (
            f"CREATE TABLE IF NOT EXISTS {table} (id bigint GENERATED ALWAYS AS IDENTITY "
            "PRIMARY KEY, region text NOT NULL DEFAULT 'eu', note text)"
        )
        yield from _table_rights(table)
    for region in REGIONS:
        writer = f"orders_{region}_writer"
        yield f"GRANT INSERT ON refunds TO {writer}"
        yield f"GRANT UPDATE ON orders TO {writer}"
        yield f"GRANT USAGE ON SEQUENCE refunds_id_seq TO {writer}"
        yield from _policy("refunds", f"{region}_insert", "INSERT", region, ("writer",))
        yield from _policy("orders", f"{region}_update", "UPDATE", region, ("writer",))


_REGION = "region text NOT NULL CHECK (region IN ('eu', 'us'))"
_CUSTOMER_TABLE = (
    "CREATE TABLE IF NOT EXISTS customers (id bigint PRIMARY KEY, name text NOT NULL, "
    f"email text NOT NULL, {_REGION})"
)
_ORDER_TABLE = (
    "CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL "
    "REFERENCES customers, item text NOT NULL, amount_cents bigint NOT NULL, "
    f"status text NOT NULL DEFAULT 'delivered', {_REGION})"
)
_REFUND_TABLE = (
    "CREATE TABLE IF NOT EXISTS refunds (id bigserial PRIMARY KEY, order_id bigint NOT NULL "
    "REFERENCES orders, amount_cents bigint NOT NULL, reason text NOT NULL, "
    f"created_at timestamptz NOT NULL DEFAULT now(), {_REGION})"
)
_TABLES = (_CUSTOMER_TABLE, _ORDER_TABLE, _REFUND_TABLE)

_CUSTOMERS = (
    (1, "Ana Silva", "ana@customers.example", "eu"),
    (2, "Jonas Weber", "jonas@customers.example", "eu"),
    (3, "Chloe Martin", "chloe@customers.example", "eu"),
    (4, "Maya Johnson", "maya@customers.example", "us"),
    (5, "Liam Carter", "liam@customers.example", "us"),
    (6, "Noah Brooks", "noah@customers.example", "us"),
)
_ITEMS = ("desk lamp", "kettle", "headphones", "backpack", "notebook", "coffee grinder")


def _rows() -> Iterator[str]:
    for number, name, email, region in _CUSTOMERS:
        values = f"({number}, '{name}', '{email}', '{region}')"
        yield _insert("customers (id, name, email, region)", values)
        for turn, item in enumerate(_ITEMS):
            order = 4000 + number * 10 + turn
            cents = 1900 + 730 * turn + 110 * number
            values = f"({order}, {number}, '{item}', {cents}, '{region}')"
            yield _insert("orders (id, customer_id, item, amount_cents, region)", values)
    into = "refunds (id, order_id, amount_cents, reason, region)"
    yield _insert(into, "(1, 4011, 2740, 'arrived broken', 'eu')")
    yield _insert(into, "(2, 4041, 3070, 'wrong colour', 'us')")
    yield "SELECT setval('refunds_id_seq', greatest(100, (SELECT max(id) FROM refunds)))"


def _insert(into: str, values: str) -> str:
    return f"INSERT INTO {into} VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608  constants


def _table_rights(table: str) -> Iterator[str]:
    yield f"ALTER TABLE {table} OWNER TO orders_owner"
    yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    yield f"GRANT SELECT ON {table} TO {', '.join(GROUPS)}"
    for region in REGIONS:
        yield from _policy(table, f"{region}_read", "SELECT", region, ("reader", "writer"))


def _policy(
    table: str, name: str, command: str, region: str, kinds: tuple[str, ...]
) -> Iterator[str]:
    groups = ", ".join(f"orders_{region}_{kind}" for kind in kinds)
    check = {"SELECT": "USING", "INSERT": "WITH CHECK", "UPDATE": "USING"}[command]
    yield f"DROP POLICY IF EXISTS {name} ON {table}"
    yield (
        f"CREATE POLICY {name} ON {table} FOR {command} TO {groups} {check} (region = '{region}')"
    )
