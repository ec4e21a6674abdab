"""One HTTP request to the emulator, and refusals in AWS's words."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4
from xml.sax.saxutils import escape

LONGEST_BODY = 64 * 1024 * 1024
"""Bytes; whole bodies are held in memory."""


class Refused(Exception):
    """An error answer: HTTP status, AWS's error code, a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def not_judged(what: str) -> Refused:
    """Return the refusal of what this emulator cannot judge: 501, which clients do not retry."""
    return Refused(501, "NotImplemented", f"this emulator does not judge: {what}")


@dataclass(frozen=True)
class Call:
    """One request: method, raw path and query, headers (lower-case names) and body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    came_from: str

    @property
    def parameters(self) -> dict[str, str]:
        """The query string, decoded; a name without a value has an empty one."""
        pairs = (pair.partition("=") for pair in self.query.split("&") if pair)
        return {unquote(name): unquote(value) for name, _, value in pairs}

    @property
    def form(self) -> dict[str, str]:
        """The form in the body, decoded (the query protocol of IAM and STS)."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


def read(environ: dict[str, Any]) -> Call:
    """Read a WSGI request whole, and leave its body to be read again.

    Raises Refused when the body is longer than `LONGEST_BODY`.
    """
    body = _body(environ)
    path, _, query = str(environ.get("RAW_URI") or environ["REQUEST_URI"]).partition("?")
    return Call(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=query,
        headers=dict(_headers(environ)),
        body=body,
        came_from=environ.get("REMOTE_ADDR", "127.0.0.1"),
    )


def _body(environ: dict[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH") or ""
    chunked = bool(environ.get("wsgi.input_terminated"))
    wanted = LONGEST_BODY + 1 if chunked or not length else int(length)
    if wanted > LONGEST_BODY and not chunked and length:
        raise Refused(400, "EntityTooLarge", "the emulator holds bodies in memory")
    body: bytes = environ["wsgi.input"].read(wanted) if chunked or length else b""
    if len(body) > LONGEST_BODY:
        raise Refused(400, "EntityTooLarge", "the emulator holds bodies in memory")
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return body


def _headers(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if name in environ:
            yield name.replace("_", "-").lower(), environ[name]


def error_page(service: str, refused: Refused) -> bytes:
    """Return the XML that `service` answers with: S3's own, or the query protocol's."""
    code, message, request = escape(refused.code), escape(refused.message), uuid4()
    if service == "s3":
        inner = f"<Code>{code}</Code><Message>{message}</Message><RequestId>{request}</RequestId>"
        return f'<?xml version="1.0" encoding="UTF-8"?><Error>{inner}</Error>'.encode()
    sender = f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
    return (
        f"<ErrorResponse><Error>{sender}</Error><RequestId>{request}</RequestId></ErrorResponse>"
    ).encode()
