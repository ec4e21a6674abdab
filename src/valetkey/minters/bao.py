"""How we talk to OpenBao or Vault: hvac over a connection pool of our own, and its four logins.

Stock hvac follows redirects and forwards the token to the new host, reads tokens from the
environment and the home directory, and does not neutralise dot segments; this adapter does none
of that. A request is never cut short: its socket outlives the back end's own request limit,
because a client that hangs up orphans what was being made.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import urllib3
from hvac import exceptions as refused
from hvac.adapters import Adapter
from urllib3.connection import HTTPConnection

from valetkey.core.errors import MinterRefused, MinterUnavailable, OutcomeUnknown

_PATH = re.compile(r"/?v1(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?")
_SQLSTATE = re.compile(rb"SQLSTATE ([0-9A-Z]{5})\b")
_AWAY_CLASSES = frozenset({"08", "40", "53", "55", "57", "58", "XX"})
"""Connection, conflict, resources, locks, operator, system, defect: it may go well another time."""
_AWAY = re.compile(
    rb"failed to connect|context (?:deadline|canceled)|failed to revoke entry|"
    rb"unable to start transaction|bad connection|i/o timeout|unexpected EOF"
)
REQUEST_LIMIT = 90.0
LAST_SECOND = datetime.max.replace(tzinfo=UTC).timestamp()
_LIVELY = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),
]
"""A peer that vanished without a word is noticed in less than half a minute, not after 105 s."""
_PATIENT = urllib3.Timeout(connect=5, read=REQUEST_LIMIT + 15)


class PooledAdapter(Adapter):  # type: ignore[misc]
    """hvac's port to HTTP, on urllib3: JSON in, JSON out, no redirects, checked paths."""

    def __init__(self, base_uri: str, token: str, **kwargs: Any) -> None:
        super().__init__(base_uri=base_uri, token=token, session=kwargs.pop("session"))
        self._wire: Wire = kwargs.pop("wire")

    def get_login_token(self, response: dict[str, Any]) -> str:
        """The token of a login's answer."""
        return str(response["auth"]["client_token"])

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        raise_exception: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Send one request; raises hvac's exceptions for any status that is not 2xx."""
        return self._wire.send(method.upper(), url, self.token, kwargs.get("json"), headers)


class Wire:
    """One host's connections, and one request over them as OpenBao wants it."""

    def __init__(self, address: str, *, ca_file: str | None, connections: int) -> None:
        pools = urllib3.PoolManager(
            num_pools=1,
            maxsize=connections,
            ca_certs=ca_file,
            cert_reqs="CERT_REQUIRED",
            socket_options=_LIVELY,
        )
        self._pool = pools.connection_from_url(address)
        self._before = urlsplit(address).path.rstrip("/")

    def send(
        self,
        method: str,
        path: str,
        token: str | None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON answer; raises hvac's exceptions for any status that is not 2xx.

        Those in which OpenBao repeats what the target said are TargetRefused or TargetAway.
        """
        if not _PATH.fullmatch(path):
            raise refused.InvalidRequest("not a path we send")
        sent = {"X-Vault-Request": "true", **(headers or {})}
        if token:
            sent["X-Vault-Token"] = token
        answer = self._request(method, path, sent, None if body is None else json.dumps(body))
        if not 200 <= answer.status < 300:
            raise of_target(answer) or refused.VaultError.from_status(answer.status, "refused")
        return dict(json.loads(answer.data)) if answer.data else {}

    def look(self, path: str, timeout: float) -> urllib3.BaseHTTPResponse:
        """The whole answer to a GET without a token, within so many seconds."""
        return self._request("GET", path, {}, None, urllib3.Timeout(timeout))

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: str | None,
        timeout: urllib3.Timeout = _PATIENT,
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.urlopen(
            method,
            self._before + path,
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            timeout=timeout,
        )


class _NoSession:
    """hvac wants a requests session; there is none."""

    verify = cert = proxies = None

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Health:
    """What OpenBao says of itself: why it cannot work now, if so, and what time it has, if at all.

    `clock` is in seconds since 1970; it tells whole ones.
    """

    problem: str | None = None
    clock: float | None = None

    def apart(self, now: datetime) -> timedelta:
        """How far its clock is from `now`; raises MinterUnavailable when it does not tell."""
        if self.clock is None:
            raise MinterUnavailable("OpenBao does not tell the time", retry_after=5)
        return timedelta(seconds=abs(now.timestamp() - self.clock))

    def skewed(self, now: datetime, skew: timedelta) -> str | None:
        """Why, when it could work but for its clock, which is further from `now` than that."""
        if self.problem is not None or self.apart(now) <= skew + timedelta(seconds=1):
            return None
        return f"OpenBao's clock is {self.apart(now).total_seconds():.0f} s from the database's"


class Bao:
    """One OpenBao: requests under a given login, foreign exceptions mapped to ours."""

    def __init__(self, address: str, *, ca_file: str | None = None, connections: int = 48) -> None:
        self.address = address
        self._wire = Wire(address, ca_file=ca_file, connections=connections)

    def client(self, token: str) -> hvac.Client:
        """An hvac client over the pool; the token is explicit, never found somewhere."""
        return hvac.Client(
            url=self.address,
            token=token,
            adapter=PooledAdapter,
            session=_NoSession(),
            wire=self._wire,
        )

    def call(
        self, login: Login, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One request under a login; raises MinterRefused, MinterUnavailable, OutcomeUnknown."""
        with mapped():
            try:
                return self._wire.send(method, f"/v1/{path}", login.token(), body)
            except refused.Forbidden:
                login.doubt()
                raise

    def names(self, login: Login, path: str) -> list[str]:
        """LIST; an empty list when there is nothing."""
        try:
            with mapped():
                answer = self._wire.send("LIST", f"/v1/{path}", login.token())
                return [str(name) for name in answer["data"]["keys"]]
        except NothingThere:
            return []

    def knows(self, login: Login, path: str) -> bool:
        """True when there is something to list under a path."""
        return bool(self.names(login, path))

    def health(self) -> Health:
        """How it is (sealed, away, a stranger), and its clock."""
        try:
            answer = self._wire.look("/v1/sys/health", 5)
        except urllib3.exceptions.HTTPError:
            return Health("OpenBao cannot be reached")
        clock = _clock_of(answer.data)
        if answer.status not in {200, 429}:
            states = {501: "OpenBao is not initialised", 503: "OpenBao is sealed"}
            return Health(states.get(answer.status, "OpenBao is ill"), clock)
        return Health("what answers is not OpenBao" if clock is None else None, clock)


def _clock_of(told: bytes) -> float | None:
    """The time in an answer of OpenBao's health, if it is one."""
    try:
        clock = float(json.loads(told)["server_time_utc"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return clock if 0 <= clock < LAST_SECOND else None


class Login:
    """A token of one JWT role, got with our own platform identity and renewed before its end.

    `identity_file` is read anew for each login. The token lives in memory only.
    """

    def __init__(self, bao: Bao, role: str, identity_file: Path, *, mount: str = "jwt") -> None:
        self._bao, self._role = bao, role
        self._identity_file, self._mount = identity_file, mount
        self._lock = threading.Lock()
        self._token = ""
        self._renewable = False
        self._life = 0.0
        self._ends = 0.0

    def __repr__(self) -> str:
        return f"Login({self._role})"

    def token(self) -> str:
        """A token with at least a third of its life left; raises what a login raises."""
        with self._lock:
            left = self._ends - time.monotonic()
            if not self._token or left < self._life / 3:
                self._renew() if self._token and self._renewable and left > 1 else self._log_in()
            return self._token

    def doubt(self) -> None:
        """The back end refused something: log in again next time, unless the token still lives.

        A reader's token that lives must be renewed, not replaced: its leases die with it.
        """
        token = self._token
        try:
            self._bao.client(token).auth.token.lookup_self()
        except (refused.VaultError, urllib3.exceptions.HTTPError):
            with self._lock:
                if self._token == token:
                    self._token = ""

    def life_left(self) -> float:
        """Seconds until the present token ends, were it not renewed; raises what `call` does."""
        with mapped():
            self.token()
        return self._ends - time.monotonic()

    def _log_in(self) -> None:
        began = time.monotonic()
        client = self._bao.client("")
        identity = self._identity_file.read_text().strip()
        answer = client.auth.jwt.jwt_login(role=self._role, jwt=identity, path=self._mount)
        self._keep(answer["auth"], began)

    def _renew(self) -> None:
        began = time.monotonic()
        try:
            answer = self._bao.client(self._token).auth.token.renew_self()
        except refused.VaultError:
            self._log_in()
            return
        self._keep(answer["auth"], began)

    def _keep(self, auth: dict[str, Any], began: float) -> None:
        self._token = str(auth["client_token"])
        self._renewable = bool(auth["renewable"])
        self._life = float(auth["lease_duration"])
        self._ends = began + self._life


class NothingThere(MinterRefused):
    """There is nothing at that path."""


class TargetRefused(refused.VaultError):  # type: ignore[misc]
    """The target itself refused; `code` is its SQLSTATE (PostgreSQL appendix A), nothing else."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code


class TargetAway(refused.VaultError):  # type: ignore[misc]
    """OpenBao had no answer from the target; `code` is a SQLSTATE, or empty."""

    def __init__(self, code: str = "") -> None:
        super().__init__()
        self.code = code


def of_target(answer: urllib3.BaseHTTPResponse) -> TargetRefused | TargetAway | None:
    """What an answer of 400 or 500 says about the target behind OpenBao; None if nothing.

    The database engine answers both to a target that refuses and to one that is away, and 400 when
    that happens while it revokes; only its text tells which.
    """
    if answer.status not in {400, 500}:
        return None
    code = _SQLSTATE.search(answer.data)
    if code is not None:
        found = code[1].decode("ascii")
        return TargetAway(found) if found[:2] in _AWAY_CLASSES else TargetRefused(found)
    return TargetAway() if _AWAY.search(answer.data) else None


@contextmanager
def mapped() -> Iterator[None]:
    """Foreign exceptions to ours, most specific first; nothing of their text is kept.

    What surely was not done is MinterRefused or MinterUnavailable; everything else may have been
    done, and is OutcomeUnknown.
    """
    try:
        yield
    except TargetRefused as no:
        raise MinterRefused(f"the target refused (SQLSTATE {no.code})") from no
    except TargetAway as away:
        why = f" (SQLSTATE {away.code})" if away.code else ""
        raise OutcomeUnknown(f"the target did not answer OpenBao{why}", retry_after=5) from away
    except refused.InvalidPath as absent:
        raise NothingThere("OpenBao knows no such path") from absent
    except refused.Forbidden as no:
        raise MinterRefused("OpenBao refused permission") from no
    except (refused.InvalidRequest, refused.Unauthorized) as no:
        raise MinterRefused("OpenBao refused the request") from no
    except (refused.VaultDown, refused.RateLimitExceeded) as away:
        raise MinterUnavailable("OpenBao is sealed or busy", retry_after=5) from away
    except urllib3.exceptions.NewConnectionError as away:
        raise MinterUnavailable("OpenBao cannot be reached", retry_after=5) from away
    except (refused.VaultError, urllib3.exceptions.HTTPError) as doubt:
        raise OutcomeUnknown(retry_after=5) from doubt
    except (ValueError, KeyError, TypeError) as doubt:  # an answer that is not what OpenBao says
        raise OutcomeUnknown(retry_after=5) from doubt
    except OSError as away:
        raise MinterUnavailable("our own identity token cannot be read", retry_after=5) from away
