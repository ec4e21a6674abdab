"""HTTP as this side needs it: one pool, no redirects, no environment proxies, errors with codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

    import httpx2

PATIENCE = 40.0
"""Seconds to wait for an answer: longer than the broker's own `answer_within`."""

_UNSENDABLE = {
    "code": "invalid_request",
    "detail": "what was given cannot be sent: it is too long, or holds what no header or path may",
    "next_action": "Correct what was given; nothing was sent.",
}
_TOLD = {"retry_after": "retry-after", "dpop_nonce": "dpop-nonce"}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Refusal(Exception):
    """The broker said no. `code` is stable; `next_action` says what to do now.

    `status` is the HTTP status, `retry_after` is in seconds, `extra` holds further members of
    the answer, for example `lease` or `fresh_for`.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code") or problem.get("error") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("error_description") or "")
        self.next_action = str(problem.get("next_action") or "")
        self.retry_after = _seconds(problem.get("retry_after"))
        self.decision_id: str | None = problem.get("decision_id")
        self.extra = {name: value for name, value in problem.items() if name not in _KNOWN}
        super().__init__(f"{self.code}: {self.detail}")


_KNOWN = frozenset(
    {"type", "title", "status", "code", "detail", "next_action", "retry_after", "decision_id"}
)


class Unreachable(Exception):
    """No answer came: the broker or the issuer is down, or the network is between us.

    What was asked may have happened; asking again with the same idempotency key is safe.
    """


@dataclass(frozen=True)
class Answer:
    """A good answer: its status and its JSON object."""

    status: int
    body: dict[str, Any] = field(repr=False)


class Wire:
    """A pool of connections. Safe to use from several threads; close it when done."""

    def __init__(self, timeout: float = PATIENCE, context: ssl.SSLContext | None = None) -> None:
        """With a `context` its authorities count, and its certificate is shown."""
        import httpx2

        self._errors: type[Exception] = httpx2.TransportError
        self._unsendable = (httpx2.LocalProtocolError, httpx2.InvalidURL)
        self._client = httpx2.Client(
            verify=context or True, follow_redirects=False, trust_env=False, timeout=timeout
        )

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        json: object = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; the answer when it is 2xx.

        Raises Refusal for any other status, and with status 0 for what cannot be sent at all;
        Unreachable when no answer came.
        """
        check_url(url)
        try:
            answer = self._client.request(
                method, url, headers=dict(headers or {}), json=json, data=form
            )
        except self._unsendable:
            raise Refusal(0, _UNSENDABLE) from None
        except self._errors as lost:
            raise Unreachable(f"no answer from {_origin(url)}: {type(lost).__name__}") from None
        body = _object(answer)
        if not answer.is_success:
            raise Refusal(answer.status_code, _with_headers(answer, body))
        return Answer(answer.status_code, body)

    def close(self) -> None:
        """Give back every connection."""
        self._client.close()


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """The system's authorities, and those of a file besides; raises ValueError for no such file."""
    import ssl

    context = ssl.create_default_context()
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except OSError:
        raise ValueError(f"no authorities can be read from {ca_file}") from None
    return context


def check_url(url: str) -> None:
    """Raise ValueError unless `url` is https, or http to this machine itself."""
    parts = urlsplit(url)
    plain_here = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (parts.scheme == "https" or plain_here) or not parts.hostname or parts.username:
        raise ValueError("the address must be https, or http on this machine")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _with_headers(answer: httpx2.Response, body: dict[str, Any]) -> dict[str, Any]:
    told = {name: answer.headers.get(header) for name, header in _TOLD.items()}
    return {**{name: value for name, value in told.items() if value}, **body}


def _seconds(value: object) -> float | None:
    try:
        return None if value is None else float(str(value))
    except ValueError:
        return None
