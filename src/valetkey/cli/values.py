"""Types of option values, and the one value that is no option."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import click

from valetkey.cli.desk import Desk

LONGEST = 16 * 1024
_DURATION = re.compile(r"(?P<count>[1-9][0-9]{0,8})(?P<unit>[smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Seconds(click.ParamType[int]):
    """A duration like 300, 300s, 5m, 2h or 1d, as whole seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read it; click tells the person when it cannot be read."""
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail("a duration is a whole number with s, m, h or d, like 5m", param, ctx)
        return int(found["count"]) * _SECONDS[found["unit"]]


class Pair(click.ParamType[tuple[str, str]]):
    """A `key=value`."""

    name = "key=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Cut at the first equals sign."""
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not (key and equals and rest):
            self.fail("write key=value", param, ctx)
        return key, rest


class Instant(click.ParamType[str]):
    """An ISO 8601 time with offset, or a duration ago like 15m; as ISO 8601 in UTC."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Read it; click tells the person when it cannot be read."""
        text = str(value)
        if (ago := _DURATION.fullmatch(text)) is not None:
            seconds = int(ago["count"]) * _SECONDS[ago["unit"]]
            return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.fail("write an ISO 8601 time, or how long ago, like 15m", param, ctx)
        if at.tzinfo is None:
            self.fail("the time needs an offset, like 2026-01-05T12:00:00+00:00", param, ctx)
        return at.astimezone(UTC).isoformat()


def once_each(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Pairs by their keys; a key that is given twice is a usage error: one would be lost."""
    given: dict[str, str] = {}
    for key, value in pairs:
        if key in given:
            raise click.UsageError(f"{key} is given twice")
        given[key] = value
    return given


def read_secret(desk: Desk, what: str) -> str:
    """A text from standard input or a hidden prompt: never an argument, never shown."""
    if desk.token_file:
        raise click.UsageError(f"standard input is for {what}, not for an identity token")
    if sys.stdin.isatty():
        return str(click.prompt(what.removeprefix("the ").capitalize(), hide_input=True, err=True))
    value = sys.stdin.read(LONGEST + 1).rstrip("\r\n")
    if not value:
        raise click.UsageError(f"give {what} on standard input")
    if len(value) > LONGEST:
        raise click.UsageError("that is longer than any credential of ours")
    return value


SECONDS = Seconds()
PAIR = Pair()
INSTANT = Instant()
