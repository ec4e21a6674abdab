"""The direct side: stock hvac, a ready-made role or the token store, and nothing in between."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import hvac

from bench.ground import DIRECT_MOUNT
from bench.load import Client


class DirectDatabase:
    """Reads credentials of ready-made roles; revokes each lease, synchronously."""

    def __init__(self, where: Mapping[str, str], lanes: int) -> None:
        self._where, self._lanes = where, itertools.cycle(range(lanes))

    def client(self) -> Client:
        """One hvac client, as an application has one for each thread."""
        return _Database(_stock(self._where), f"ready-{next(self._lanes)}")

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
    def __init__(self, client: hvac.Client, role: str) -> None:
        self._client, self._role = client, role

    def mint(self) -> str:
        engine = self._client.secrets.database
        answer = engine.generate_credentials(self._role, mount_point=DIRECT_MOUNT)
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


def _stock(where: Mapping[str, str]) -> hvac.Client:
    return hvac.Client(url=where["address"], token=where["token"])
