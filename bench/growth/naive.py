"""The naive broker: mint, then record. All that it lacks is a row written before."""

from __future__ import annotations

from collections.abc import Mapping

import hvac
import psycopg

from bench.ground import DIRECT_MOUNT

TABLE = "CREATE TABLE IF NOT EXISTS naive (username text PRIMARY KEY, lease_id text NOT NULL)"
RECORD = "INSERT INTO naive VALUES (%s, %s)"


class Naive:
    """One client's own; what it has recorded, it could end."""

    def __init__(self, where: Mapping[str, str], number: int) -> None:
        self._bao = hvac.Client(url=where["address"], token=where["token"])
        self._rows = psycopg.connect(where["database"], autocommit=True)
        self._role = f"ready-{number % 4}"

    def issue(self) -> str:
        """Make a credential, write it down, hand it out."""
        engine = self._bao.secrets.database
        made = engine.generate_credentials(self._role, mount_point=DIRECT_MOUNT)
        self._rows.execute(RECORD, [made["data"]["username"], made["lease_id"]])
        return str(made["data"]["password"])
