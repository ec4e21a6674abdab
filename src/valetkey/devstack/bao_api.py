"""The few OpenBao HTTP calls the dev stack makes, over loopback, without redirects or proxies.

Not the client the minters use: this one is for setting a server up and for looking at it in tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import urllib3


class BaoRefused(Exception):
    """OpenBao answered with an error status; the text has method, path, status and its errors."""

    def __init__(self, method: str, path: str, status: int, errors: list[str]) -> None:
        self.status = status
        self.errors = errors
        super().__init__(f"{method} {path}: {status} {'; '.join(errors)}")


@dataclass(frozen=True)
class Bao:
    """One OpenBao at `address` (`http://127.0.0.1:<port>`), spoken to with `token` (or none)."""

    address: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Bao({self.address!r})"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one request to `/v1/<path>` and return the JSON answer (`{}` for 204).

        Raises BaoRefused on a status of 300 or more, urllib3.exceptions.HTTPError when the
        server cannot be reached.
        """
        headers = {"X-Vault-Request": "true"}
        if self.token:
            headers["X-Vault-Token"] = self.token
        answer = _pool.request(
            method,
            f"{self.address}/v1/{path}",
            body=json.dumps(body).encode() if body is not None else None,
            headers=headers,
        )
        content: dict[str, Any] = json.loads(answer.data) if answer.data else {}
        if answer.status >= 300:
            raise BaoRefused(method, path, answer.status, content.get("errors") or [])
        return content

    def read(self, path: str) -> dict[str, Any]:
        """GET `path`; the answer."""
        return self.call("GET", path)

    def write(self, path: str, **body: Any) -> dict[str, Any]:
        """POST `body` to `path`; the answer."""
        return self.call("POST", path, body)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE `path`; the answer."""
        return self.call("DELETE", path)

    def names(self, path: str) -> list[str]:
        """LIST `path`; the keys, empty when there are none."""
        try:
            keys: list[str] = self.call("LIST", path)["data"]["keys"]
        except BaoRefused as refused:
            if refused.status == 404:
                return []
            raise
        return keys

    def login(self, role: str, jwt: str, *, mount: str = "jwt") -> Bao:
        """Log in by JWT as `role`; the same OpenBao, spoken to with the token got."""
        answer = self.write(f"auth/{mount}/login", role=role, jwt=jwt)
        return Bao(self.address, answer["auth"]["client_token"])


_pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=100), maxsize=8)
