"""The direct side: stock hvac, a ready-made role or the token store, and nothing in between."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import hvac

from bench.ground import DIRECT_MOUNT
from bench.load import Client


class DirectDatabase:
    """Reads credentials of ready-made roles; revokes each lease, synchronously.

    A call that takes longer than `patience` (seconds) has failed.
    """

    def __init__(
        self,
        where: Mapping[str, str],
        lanes: int,
        mount: str = DIRECT_MOUNT,
        patience: float = 30.0,
    ) -> None:
        self._where, self._lanes = where, itertools.cycle(range(lanes))
        self._mount, self._patience = mount, patience

    def client(self) -> Client:
        """One hvac client, as an application has one for each thread."""
        stock = _stock(self._where, self._patience)
        return _Database(stock, self._mount, f"ready-{next(self._lanes)}")

    def settle(self) -> int:
        """Every revocation was waited for."""
        return 0


class DirectToken:
    """Makes service tokens of OpenBao; revokes each by its accessor."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = where

    def client(self) -> Client:
        """One hvac client."""
        return _Token(_stock(self._where))

    def settle(self) -> int:
        """Every revocation was waited for."""
        return 0


class _Database:
    def __init__(self, client: hvac.Client, mount: str, role: str) -> None:
        self._client, self._mount, self._role = client, mount, role

    def mint(self) -> str:
        engine = self._client.secrets.database
        answer = engine.generate_credentials(self._role, mount_point=self._mount)
        return str(answer["lease_id"])

    def end(self, name: str) -> None:
        self._client.sys.revoke_lease(name)


class _Token:
    def __init__(self, client: hvac.Client) -> None:
        self._client = client

    def mint(self) -> str:
        answer = self._client.auth.token.create(policies=["default"], ttl="300s")
        return str(answer["auth"]["accessor"])

    def end(self, name: str) -> None:
        self._client.auth.token.revoke_accessor(name)


def _stock(where: Mapping[str, str], patience: float = 30.0) -> hvac.Client:
    return hvac.Client(url=where["address"], token=where["token"], timeout=patience)
