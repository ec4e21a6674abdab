"""Types of option values."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

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


SECONDS = Seconds()
PAIR = Pair()
INSTANT = Instant()
