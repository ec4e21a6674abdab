"""Leaks: what a reported text may hold that is a credential's secret part."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

LONGEST = 16 * 1024
"""Characters of a report at most; the longest credential is far below."""


def secrets_in(reported: str) -> tuple[str, ...]:
    """Texts to be held against fingerprints: as reported, trimmed, and a URL's password.

    People find credentials with a line's end behind them, or inside a connection URL.
    """
    trimmed = reported.strip()
    found = {reported: None, trimmed: None}
    password = _password_of(trimmed)
    if password:
        found[password] = None
        found[unquote(password)] = None
    return tuple(text for text in found if text)


def _password_of(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None
