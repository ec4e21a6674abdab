"""A bot that reads one order with a database login that lives as long as its task.

    export VALETKEY_URL=https://valetkey.example.com
    export VALETKEY_IDENTITY_TOKEN_FILE=/var/run/secrets/valetkey/token
    python examples/refund_bot.py 4012

Its platform keeps its proof of identity in that file; it holds no other secret. Needs the package
`valetkey` for the SDK and `psycopg` for PostgreSQL.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg

from valetkey.agentside.client import Ask, Granted, Valetkey
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import from_file
from valetkey.agentside.wire import Refusal, Unreachable

SCOPE = "orders-db:read{region=eu}"


def main() -> int:
    """Print the order; 1 when Valetkey refuses, 4 when it is away, with what to do about it."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        print("usage: refund_bot.py ORDER", file=sys.stderr)
        return 2
    order = int(sys.argv[1])
    url = os.environ["VALETKEY_URL"]
    proof = from_file(Path(os.environ["VALETKEY_IDENTITY_TOKEN_FILE"]))
    # Kept between runs: an issuer may tie its token to the first key it came with.
    key = DpopKey.kept(Path(os.environ.get("REFUND_BOT_KEY", "refund-bot.key.json")))
    try:
        with (
            Valetkey(url, key, proof) as broker,
            broker.task(f"look at order {order}", [SCOPE], ttl=600) as task,
        ):
            got = broker.request(Ask(task["id"], SCOPE, ttl=300))
            if not isinstance(got, Granted):
                print(f"people decide first: {got.grant['id']}", file=sys.stderr)
                return 3
            print(found(got.credential, order))
    except Refusal as no:
        print(f"{no.code}: {no.detail}\n{no.next_action}", file=sys.stderr)
        return 1
    except Unreachable as away:
        print(f"Valetkey cannot be reached: {away}", file=sys.stderr)
        return 4
    return 0


def found(login: dict[str, str], order: int) -> str:
    """The order as text, read under the login."""
    with psycopg.connect(
        host=login["host"],
        port=login["port"],
        dbname=login["database"],
        user=login["username"],
        password=login["password"],
        sslmode=login["sslmode"],
    ) as session:
        row = session.execute(
            "SELECT item, amount_cents, status FROM orders WHERE id = %s", [order]
        ).fetchone()
    return "no such order" if row is None else f"{row[0]}: {row[1]} cents, {row[2]}"


if __name__ == "__main__":
    sys.exit(main())
